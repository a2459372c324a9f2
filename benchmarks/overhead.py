"""Claim: on two CPU cores a trial costs under 50 ms beside its training in a study of 100 trials, and under 250 ms in
one of 5,000.

    python benchmarks/overhead.py [--trials N,N] [--study NAME] [--sampler NAME] [--json FILE]        about 5 minutes on
    two cores

A study of the space of `standard` is filled with so many finished trials, in a SQLite file of its own. Then the loop of
`fmnist-search run` takes trials through it: a real sampler (TPE, where `standard` itself has gp), its pruner and
storage, but an executor that has every epoch at once, from a recorded learning curve, so that all the time is the
coordinator's. No trial is pruned, so that each is reported and judged after every epoch: the dearest kind. The
hand-over is measured apart: tiny trainings in a real worker process, from the task's way there to its last word, less
its training.

ask           the new trial in the storage; medians over the measured trials, as all columns
notes         configuration, seed, size and curve in the storage
report        all epochs' values in the storage
prune         the pruner's verdicts, one an epoch
tell          the end in the storage
other         the sampler's proposal, which Optuna makes with the first suggestion, and the rest of the loop
hand-over     between coordinator and worker
all           the sum, in ms a trial

`ratio` in the JSON is the target, 250 ms at the largest study, by what was measured there: above 1 it is met.
"""

import sys
from pathlib import Path

if __name__ == "__main__":
    # A script's own folder comes first on the path, where `profile` would stand before the standard library's.
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import tempfile
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import wraps
from itertools import pairwise
from statistics import median
from typing import Annotated, Any, ParamSpec, TypeVar
from unittest.mock import patch

import optuna
import typer

from benchmarks.filling import CLASSES, Merciful, fill, no_data, recorded_curve
from benchmarks.options import sampled_by, whole_numbers
from benchmarks.subset import part_of
from benchmarks.table import perform, publish, surroundings, tell
from fmnist.config import TrialConfig
from fmnist.data.sources import find_source
from fmnist.data.splits import SPLIT_SEED
from fmnist.machine import cores
from search.executors import EpochEnd, Event, Finished, Task
from search.executors.local import LocalExecutor
from search.executors.training import Setup
from search.job.interrupt import Interrupt
from search.job.progress.display import Silent
from search.job.search import optimize
from search.samplers.names import Sampler
from search.storage.opening import open_storage
from search.study.spec import StudySpec, load_spec
from search.study.study import create_study
from search.terminal.table import Table

P = ParamSpec("P")
R = TypeVar("R")
TARGET = 0.250  # seconds a trial, in the largest study
PARTS = ("ask", "notes", "report", "prune", "tell")
CALLS: tuple[tuple[Any, str, str], ...] = (
    (optuna.Study, "ask", "ask"),
    (optuna.Trial, "set_user_attr", "notes"),
    (optuna.Trial, "report", "report"),
    (optuna.Trial, "should_prune", "prune"),
    (optuna.Study, "tell", "tell"),
)


@dataclass
class MadeUp:
    """An executor that trains nothing: every epoch of a task is there at once."""

    coming: deque[Event] = field(default_factory=deque)
    ends: list[float] = field(default_factory=list)

    def free(self) -> int:
        """One task at a time."""
        return 0 if self.coming else 1

    def running(self) -> list[str]:
        """The key of the task whose events are still to come."""
        return [self.coming[0].key] if self.coming else []

    def submit(self, task: Task) -> None:
        """The task's events are there."""
        curve = recorded_curve(task.config.epochs, task.seed)
        for number, value in enumerate(curve, start=1):
            self.coming.append(EpochEnd(task.key, number, 0.5, 0.5, value, value, 1e4, float(number)))
        self.coming.append(Finished(task.key, float(len(curve))))

    def stop(self, key: str) -> None:  # noqa: ARG002 - the protocol's
        """Nothing of the task is left but its end."""
        self.coming = deque(event for event in self.coming if isinstance(event, Finished))

    def events(self, timeout: float) -> list[Event]:  # noqa: ARG002 - the protocol's
        """The next one; a trial whose last event was taken before has ended by now."""
        if not isinstance(event := self.coming.popleft(), Finished):
            return [event]
        self.ends.append(time.perf_counter())
        return [event]


class Laps:
    """Seconds by part and trial, of calls that are watched from outside."""

    def __init__(self) -> None:
        self.trials: list[dict[str, float]] = []
        self._depth = 0

    def begin(self) -> None:
        """What follows belongs to the next trial."""
        self.trials.append(defaultdict(float))

    def watched(self, part: str, function: Callable[P, R]) -> Callable[P, R]:
        """The function, whose time goes to the part; an `ask` begins a trial."""

        @wraps(function)
        def timed(*args: P.args, **kwargs: P.kwargs) -> R:
            if part == "ask":
                self.begin()
            self._depth += 1
            start = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                self._depth -= 1
                if self._depth == 0:
                    self.trials[-1][part] += time.perf_counter() - start

        return timed


def overhead(
    trials: Annotated[
        str, typer.Option(metavar="N,N", help="Finished trials in the study, one row each.")
    ] = "10,100,1000,5000",
    study: Annotated[str, typer.Option(metavar="NAME", help="Whose space and pruner are used.")] = "standard",
    sampler: Annotated[Sampler, typer.Option(help="The proposals' own time is in the figures.")] = "tpe",
    measured: Annotated[int, typer.Option(metavar="N", min=3, help="Trials that are measured in each row.")] = 20,
    data: Annotated[
        str, typer.Option(metavar="PATH", help="Where the few images of the hand-over come from.")
    ] = "synthetic",
    file: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write everything there too.")] = None,
) -> None:
    """The table is on the screen."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sizes, spec = whole_numbers("--trials", trials, least=0), sampled_by(sampler, load_spec(study))
    here = surroundings(workers=1, threads=cores())
    hand_over = _hand_over(data, measured)
    rows = [_row(spec, size, measured) | {"hand-over": hand_over} for size in sizes]
    for row in rows:
        row["all"] += hand_over
    largest = max(rows, key=lambda row: row["trials"])
    figures = {
        "benchmark": "overhead",
        **here,
        "settings": {
            "study": study,
            "sampler": spec.search.sampler,
            "pruner": spec.search.pruner,
            "epochs": spec.epochs,
            "measured": measured,
        },
        "rows": rows,
        "ratio": TARGET / largest["all"],
    }
    publish(_table(rows, figures["settings"]), figures, file)


def _row(spec: StudySpec, size: int, measured: int) -> dict[str, Any]:
    tell(f"A study of {size:,} trials.")
    with tempfile.TemporaryDirectory() as folder:
        longer = spec.overridden(trials=size + measured)
        study = create_study(open_storage(f"sqlite:///{folder}/trials.db", create=True), longer, no_data())
        fill(study.optuna, spec, size)
        study = create_study(
            open_storage(f"sqlite:///{folder}/trials.db", create=True), longer, no_data()
        )  # as a run that goes on
        study.optuna.pruner = Merciful(study.optuna.pruner)
        laps, executor = Laps(), MadeUp()
        start = time.perf_counter()
        with Interrupt() as interrupt, _watched(laps):
            optimize(study, longer, executor, Silent(), interrupt, CLASSES)
    ends = [start, *executor.ends]
    whole = [after - before for before, after in pairwise(ends)]
    parts = {part: median(trial[part] for trial in laps.trials) for part in PARTS}
    other = median(seconds - sum(trial.values()) for seconds, trial in zip(whole, laps.trials, strict=True))
    return {"trials": size, **parts, "other": max(0.0, other), "all": median(whole)}


@contextmanager
def _watched(laps: Laps) -> Iterator[None]:
    with ExitStack() as wrapped:
        for owner, name, part in CALLS:
            wrapped.enter_context(patch.object(owner, name, laps.watched(part, getattr(owner, name))))
        yield


def _hand_over(data: str, measured: int) -> float:
    """Seconds that a task spends between coordinator and worker: the median of so many tiny trainings."""
    tiny = TrialConfig(epochs=1, depth=1, filters=4, batch_size=8)
    with (
        part_of(find_source(data, announce=tell), 60) as (_, source),
        LocalExecutor(Setup(source, SPLIT_SEED, "cpu", 1), 1) as executor,
    ):
        _round_trip(executor, Task("first", tiny, 0, images="search"))  # waits for the worker's start
        return median(
            _round_trip(executor, Task(f"task {seed}", tiny, seed, images="search")) for seed in range(measured)
        )


def _round_trip(executor: LocalExecutor, task: Task) -> float:
    start = time.perf_counter()
    executor.submit(task)
    while True:
        for event in executor.events(timeout=60):
            if isinstance(event, Finished):
                return time.perf_counter() - start - event.seconds


def _table(rows: list[dict[str, Any]], settings: dict[str, Any]) -> Table:
    columns = ("trials", *PARTS, "other", "hand-over", "all")
    shown = [(f"{row['trials']:,}", *(f"{row[column] * 1e3:.1f}" for column in columns[1:])) for row in rows]
    caption = (
        f"Milliseconds a trial, medians of {settings['measured']} trials of {settings['epochs']} epochs each; "
        f"{settings['study']}: "
        f"{settings['sampler']}, {settings['pruner']}. Wanted: 50 ms at 100 trials, 250 ms at 5,000."
    )
    return Table("What a trial costs beside its training", columns, shown, caption, text_columns=frozenset())


if __name__ == "__main__":
    perform(overhead, __doc__ or "")
