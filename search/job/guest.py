"""A run inside a process that continues afterwards: a notebook or another program."""

from collections.abc import Iterator
from contextlib import contextmanager

import optuna
from rich.console import Console

from search.errors import AnotherRunError
from search.job.interrupt import InterruptedRunError
from search.job.plan import make_plan
from search.job.progress.display import open_progress
from search.job.request import RunRequest
from search.job.run import carry_out
from search.job.summary import print_plan
from search.storage.opening import open_storage
from search.study.study import Study, load_study


def run_study(request: RunRequest, *, quiet: bool) -> Study:
    """Run the requested study to its end and return it.

    Raises: FmnistError with the errors of the request. KeyboardInterrupt after the running trials were put back.
    """
    # In a notebook lines of text: Rich makes an output of its own of each, and a screen cannot be redrawn.
    is_notebook = Console().is_jupyter
    console = Console(quiet=quiet, force_jupyter=False, force_terminal=False if is_notebook else None)
    with _quiet_optuna():
        plan = make_plan(request, lambda text: console.print(text, highlight=False))
        print_plan(plan, console, None)
        try:
            with open_progress(console, quiet=quiet) as progress:
                return carry_out(plan, progress, is_guest=True)
        except AnotherRunError as error:
            console.print(str(error), highlight=False, markup=False)
            return load_study(open_storage(plan.storage, create=False), plan.spec.name, plan.home)
        except InterruptedRunError:
            raise KeyboardInterrupt(
                "Results so far are kept, running trials were put back. To resume, repeat the call."
            ) from None


@contextmanager
def _quiet_optuna() -> Iterator[None]:
    """Keep Optuna from logging each trial: the progress is shown."""
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(level)
