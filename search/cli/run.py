"""`fmnist-search run`: the main job, from the command line."""

import time
from contextlib import nullcontext
from typing import TYPE_CHECKING, Annotated, Unpack

import typer

from search.cli.arguments import Data, Storage, Test, quiet_optuna
from search.cli.options import takes
from search.job.options import Options
from search.study.paths import DEFAULT_STORAGE
from search.study.shipped import shipped_studies
from search.terminal.console import Console

if TYPE_CHECKING:
    from search.job.request import RunRequest

Study = Annotated[
    str | None,
    typer.Argument(
        metavar="STUDY", help="A shipped study or a TOML file; default auto.", autocompletion=shipped_studies
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", help="Print only the result, and alarms on stderr.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Check everything, show the plan and its cost, start nothing.")]


@takes(Options)
def run(
    study: Study = None,
    data: Data = None,
    test: Test = None,
    storage: Storage = DEFAULT_STORAGE,
    quiet: Quiet = False,
    dry_run: DryRun = False,
    **options: Unpack[Options],
) -> None:
    """Search, confirm, retrain, test once, report and export; run again to continue.

    Example: fmnist-search run --minutes 30 --set 'dropout={low=0,high=0.3}'
    """
    began = time.monotonic()
    from search.executors.processes import warm_up

    if not dry_run and options.get("executor", "local") == "local":
        warm_up()  # first, because the following imports take seconds
    from search.job.request import RunRequest

    request = RunRequest(storage=storage, study=study, data=data, test=test, options=options, began=began)
    _perform(request, quiet=quiet, dry_run=dry_run)


def _perform(request: "RunRequest", *, quiet: bool, dry_run: bool) -> None:
    quiet_optuna()
    from search.errors import AnotherRunError
    from search.job.interrupt import EXIT_CODE, InterruptedRunError
    from search.job.plan import check_storage, make_plan
    from search.job.progress.display import open_progress
    from search.job.run import carry_out
    from search.job.summary import print_end, print_outlook, print_plan

    console = Console()
    is_told = not quiet or dry_run
    with console.status("Reading the images, measuring this machine") if is_told else nullcontext():
        plan = make_plan(request, lambda text: console.print(text, highlight=False) if is_told else None)
        stored = check_storage(plan)
    if is_told:
        print_plan(plan, console, stored)
    if dry_run:
        print_outlook(plan, console)
        console.print("Nothing was started.")
        return
    try:
        with open_progress(console, quiet=quiet) as progress:
            finished = carry_out(plan, progress)
    except AnotherRunError as error:
        end = f"{error} This run's part is done; `fmnist-search report` with the same --storage shows the result."
        console.print(end, highlight=False, markup=False, soft_wrap=True)
        return
    except InterruptedRunError:
        console.print(
            "Interrupted. Results so far are kept, running trials were put back. To resume, run the same command again."
        )
        raise typer.Exit(EXIT_CODE) from None
    print_end(finished, console)
