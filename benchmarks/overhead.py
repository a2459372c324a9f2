"""Claim: on two CPU cores the overhead of a trial is below 50 ms at 100 trials, and below 250 ms at 5,000.

    python benchmarks/overhead.py [--trials N,N] [--study NAME] [--sampler NAME] [--json FILE]        about 5 minutes

A study with the space of `standard` is filled with finished trials, in a SQLite file. Then the loop of `fmnist-search
run` runs more trials: a real sampler (TPE; `standard` has gp), its pruner and storage, but an executor that has
all epochs at once from a recorded learning curve, so that all the time is that of the coordinator. No trial is pruned,
so that each has all its reports and verdicts: the most expensive kind. The hand-over is measured separately, with tiny
trainings in a real worker process: from the submission of the task to its end, without the training.

ask           create the trial; like all columns a median over the measured trials
notes         store configuration, seed, size and curve
report        store the values of all epochs
prune         the verdicts of the pruner, one per epoch
tell          store the end
other         the proposal of the sampler, which Optuna makes with the first suggestion, and the rest of the loop
hand-over     between coordinator and worker
all           the sum, in ms per trial

`ratio` in the JSON is the target, 250 ms in the largest study, by the measured time: above 1 it is met.
"""

import sys
from pathlib import Path

if __name__ == "__main__":
    # A script's folder comes first on the path, where `profile` would shadow the standard library's.
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
from benchmarks.options import Json, sampled_by, whole_numbers
from benchmarks.subset import part_of
from benchmarks.table import perform, publish, surroundings, tell
from fmnist.config import TrialConfig
from fmnist.curve import CurvePoint
from fmnist.data.sources import find_source
from fmnist.data.splits import SPLIT_SEED
from fmnist.machine import cores
from search.executors import EpochEnd, Event, Finished, Task
from search.executors.local import LocalExecutor
from search.executors.training import Setup
from search.job.interrupt import Interrupt
from search.job.progress.base import Progress
from search.job.search import optimize
from search.job.stage import Stage
from search.samplers.names import Sampler
from search.storage.opening import open_storage
from search.storage.own_trials import OwnTrials
from search.study.spec import StudySpec, load_spec
from search.study.study import create_study
from search.terminal.table import Table

P = ParamSpec("P")
R = TypeVar("R")
TARGET = 0.250  # seconds per trial, in the largest study
PARTS = ("ask", "notes", "report", "prune", "tell")
CALLS: tuple[tuple[Any, str, str], ...] = (
    (optuna.Study, "ask", "ask"),
    (optuna.Trial, "set_user_attr", "notes"),
    (OwnTrials, "set_trial_system_attr", "notes"),
    (optuna.Trial, "report", "report"),
    (optuna.Trial, "should_prune", "prune"),
    (optuna.Study, "tell", "tell"),
)


@dataclass
class Simulated:
    """An executor that does not train: all epochs of a task are there at once."""

    pending: deque[Event] = field(default_factory=deque)
    ends: list[float] = field(default_factory=list)

    def free(self) -> int:
        """Return 1, or 0 if a task is running."""
        return 0 if self.pending else 1

    def threads_of_each(self, count: int) -> list[int | None]:
        """Return the usual threads."""
        return [None] * count

    def turns_of_each(self, count: int) -> list[float]:
        """Return 1 for each training: none pauses."""
        return [1.0] * count

    def running(self) -> list[str]:
        """Return the key of the task with pending events."""
        return [self.pending[0].key] if self.pending else []

    def submit(self, task: Task) -> None:
        """Queue all events of the task."""
        curve = recorded_curve(task.config.epochs, task.seed)
        for number, value in enumerate(curve, start=1):
            self.pending.append(EpochEnd(task.key, CurvePoint(number, 0.5, 0.5, value, value, float(number)), 1e4))
        self.pending.append(Finished(task.key, float(len(curve))))

    def stop(self, key: str, *, pause: bool = False) -> None:  # noqa: ARG002
        """Drop all pending events of the task but its end."""
        self.pending = deque(event for event in self.pending if isinstance(event, Finished))

    def events(self, timeout: float) -> list[Event]:  # noqa: ARG002
        """Return the next event, and note the time of the end of a task."""
        if not isinstance(event := self.pending.popleft(), Finished):
            return [event]
        self.ends.append(time.perf_counter())
        return [event]


class Laps:
    """Seconds of the timed calls by part, for each trial."""

    def __init__(self) -> None:
        self.trials: list[dict[str, float]] = []
        self._depth = 0

    def begin(self) -> None:
        """Start the next trial."""
        self.trials.append(defaultdict(float))

    def watched(self, part: str, function: Callable[P, R]) -> Callable[P, R]:
        """Wrap a function whose time belongs to the part; an `ask` starts a trial."""

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
    study: Annotated[str, typer.Option(metavar="NAME", help="The study with the space and pruner.")] = "standard",
    sampler: Annotated[Sampler, typer.Option(help="Its proposals are part of the time.")] = "tpe",
    measured: Annotated[int, typer.Option(metavar="N", min=3, help="Measured trials per row.")] = 20,
    data: Annotated[str, typer.Option(metavar="PATH", help="The images of the hand-over.")] = "synthetic",
    file: Json = None,
) -> None:
    """Print the table."""
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
        url = f"sqlite:///{folder}/trials.db"
        longer = spec.overridden(trials=size + measured)
        fill(create_study(open_storage(url, create=True), longer, no_data()).optuna, spec, size)
        study = create_study(open_storage(url, create=True), longer, no_data())  # as in a resumed run
        study.optuna.pruner = Merciful(study.optuna.pruner)
        laps, executor = Laps(), Simulated()
        start = time.perf_counter()
        with Interrupt() as interrupt, _watched(laps):
            optimize(Stage(study, longer, executor, Progress(), interrupt), CLASSES)
    whole = [after - before for before, after in pairwise([start, *executor.ends])]
    parts = {part: median(trial[part] for trial in laps.trials) for part in PARTS}
    other = median(seconds - sum(trial.values()) for seconds, trial in zip(whole, laps.trials, strict=True))
    return {"trials": size, **parts, "other": max(0.0, other), "all": median(whole)}


@contextmanager
def _watched(laps: Laps) -> Iterator[None]:
    with ExitStack() as patches:
        for owner, name, part in CALLS:
            patches.enter_context(patch.object(owner, name, laps.watched(part, getattr(owner, name))))
        yield


def _hand_over(data: str, measured: int) -> float:
    """Return the median seconds that tiny trainings spend between coordinator and worker."""
    tiny = TrialConfig(epochs=1, depth=1, filters=4, batch_size=8)
    with (
        part_of(find_source(data, announce=tell), 60) as (_, source),
        LocalExecutor(Setup(source, SPLIT_SEED, "cpu", 1), 1) as executor,
    ):
        _round_trip(executor, Task("first", tiny, 0, images="search"))  # waits for the start of the worker
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
    cells = [(f"{row['trials']:,}", *(f"{row[column] * 1e3:.1f}" for column in columns[1:])) for row in rows]
    caption = (
        f"Milliseconds per trial, medians of {settings['measured']} trials of {settings['epochs']} epochs each; "
        f"{settings['study']}: {settings['sampler']}, {settings['pruner']}. Target: 50 ms at 100 trials, 250 ms "
        "at 5,000."
    )
    return Table("The overhead of a trial", columns, cells, caption, text_columns=frozenset())


if __name__ == "__main__":
    perform(overhead, __doc__ or "")
