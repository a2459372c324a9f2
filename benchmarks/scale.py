"""How many workers one coordinator keeps busy, by the size of its study.

    python benchmarks/scale.py [--trials N,N] [--workers N,N] [--sampler NAME] [--storage URL] [--json FILE]

A study with the space of `standard` is filled with finished trials. Then the loop of `fmnist-search run` drives the
workers: a real sampler (TPE; `standard` has gp), its pruner and storage, but workers that train in simulated
time, with recorded learning curves (curves.csv). A trial takes about 30 simulated seconds, with its epochs one after
another, and the work of the coordinator takes as long in simulated time as in real time. So a thousand workers need few
cores, and training takes no time. No trial is pruned: each has all its reports and verdicts.

asks         proposals per second: create the trial, sample its configuration, store its notes, hand it to a worker
trials       per second that a coordinator could process from ask to end
latency      between the end of an epoch and its processing by the coordinator, in ms: median and 95th percentile
busy         share of the workers' time in training, from the end of the first trial to the start of the last one
coordinator  share of that time in which the coordinator works
storage      size of the database in MiB

`--storage` names an empty database of a server; by default each row has a SQLite file. `ratio` in the JSON is `busy` of
the row with most workers in the smallest study, by 0.9.
"""

import sys
from pathlib import Path

if __name__ == "__main__":
    # A script's folder comes first on the path, where `profile` would shadow the standard library's.
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import heapq
import random
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from statistics import median, quantiles
from typing import Annotated, Any
from unittest.mock import patch

import optuna
import typer
from optuna.storages import RDBStorage
from sqlalchemy import text

from benchmarks.filling import CLASSES, Merciful, fill, no_data, recorded_curve
from benchmarks.options import Json, NoData, sampled_by, whole_numbers
from benchmarks.table import perform, publish, surroundings, tell
from fmnist.curve import CurvePoint
from fmnist.machine import cores
from search.executors import EpochEnd, Event, Finished, NoTaskYet, Task
from search.job import search as loop
from search.job.interrupt import Interrupt
from search.job.loop import SearchLoop
from search.job.progress.base import Progress
from search.job.stage import Stage
from search.samplers.names import Sampler
from search.storage.opening import open_storage
from search.study.spec import StudySpec, load_spec
from search.study.study import create_study
from search.terminal.table import Table

TARGET = 0.9  # of the workers' time
SPREAD = 0.2  # relative deviation of a trial's time
ROUNDS = 2  # trials of each worker after its first one; at least one
MOST = 600  # trials in a row of the table; more if there are more workers


@dataclass
class Simulated:
    """An executor whose workers train in simulated time; between two calls it advances like real time."""

    workers: int
    seconds: float  # of a trial, on average
    epochs: int
    latencies: list[float] = field(default_factory=list)
    trainings: list[tuple[float, float]] = field(default_factory=list)  # from, to
    work: list[tuple[float, float]] = field(default_factory=list)  # of the coordinator: from, to
    _now: float = 0.0
    _since: float = field(default_factory=time.perf_counter)  # real time of the last return to the caller
    _pending: list[tuple[float, int, Event]] = field(default_factory=list)
    _order: Iterator[int] = field(default_factory=count)
    _running: dict[str, float] = field(default_factory=dict)  # key -> start

    @property
    def now(self) -> float:
        """Simulated seconds, including the current work of the coordinator."""
        return self._now + time.perf_counter() - self._since

    def free(self) -> int:
        """Return the number of idle workers."""
        return self.workers - len(self._running)

    def threads_of_each(self, count: int) -> list[int | None]:
        """Return the usual threads."""
        return [None] * count

    def turns_of_each(self, count: int) -> list[float]:
        """Return 1 for each training: none pauses."""
        return [1.0] * count

    def running(self) -> list[str]:
        """Return the keys of the running tasks."""
        return list(self._running)

    def submit(self, task: Task) -> None:
        """Start the task, and schedule its epochs and its end."""
        start = self._running[task.key] = self.now
        whole = self.seconds * random.Random(task.key).uniform(1 - SPREAD, 1 + SPREAD)
        for number, value in enumerate(recorded_curve(self.epochs, task.seed), start=1):
            at = start + whole * number / self.epochs
            self._put(
                at, EpochEnd(task.key, CurvePoint(number, 0.5, 0.5, value, value, whole * number / self.epochs), 1e4)
            )
        self._put(start + whole, Finished(task.key, whole))

    def stop(self, key: str, *, pause: bool = False) -> None:
        """Not needed, because nothing is pruned."""
        raise NotImplementedError(key)

    def events(self, timeout: float) -> list[Event]:  # noqa: ARG002
        """Return all events up to now, or advance to the next event."""
        before, self._now = self._now, self.now
        self.work.append((before, self._now))
        self._now = max(self._now, self._pending[0][0])
        events = []
        while self._pending and self._pending[0][0] <= self._now:
            at, _, event = heapq.heappop(self._pending)
            events.append(event)
            if isinstance(event, Finished):
                self.trainings.append((self._running.pop(event.key), at))
            else:
                self.latencies.append(self._now - at)
        self._since = time.perf_counter()
        return events

    def shares(self) -> tuple[float, float]:
        """Return the busy shares of the workers and of the coordinator while there was work for all."""
        start, end = min(to for _, to in self.trainings), max(begin for begin, _ in self.trainings)
        whole = max(end - start, 1e-9)
        return _within(self.trainings, start, end) / (whole * self.workers), _within(self.work, start, end) / whole

    def _put(self, at: float, event: Event) -> None:
        heapq.heappush(self._pending, (at, next(self._order), event))


def _within(spans: Sequence[tuple[float, float]], start: float, end: float) -> float:
    """Return the seconds of the spans between start and end."""
    return sum(max(0.0, min(to, end) - max(begin, start)) for begin, to in spans)


@dataclass
class Asks:
    """The duration of each proposal that became a task."""

    seconds: list[float] = field(default_factory=list)

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Time the proposals within the block."""
        next_task = SearchLoop.next_task

        def timed(this: SearchLoop) -> Task | NoTaskYet | None:
            start = time.perf_counter()
            task = next_task(this)
            if isinstance(task, Task):
                self.seconds.append(time.perf_counter() - start)
            return task

        with patch.object(SearchLoop, "next_task", timed):
            yield


def scale(
    trials: Annotated[str, typer.Option(metavar="N,N", help="Finished trials in the study.")] = "1000",
    workers: Annotated[
        str, typer.Option(metavar="N,N", help="Workers; one row for each number and study size.")
    ] = "16,64",
    study: Annotated[str, typer.Option(metavar="NAME", help="The study with the space and pruner.")] = "standard",
    sampler: Annotated[Sampler, typer.Option(help="Its proposals are part of the time.")] = "tpe",
    storage: Annotated[
        str | None, typer.Option(metavar="URL", help="An empty database of a server; by default SQLite files.")
    ] = None,
    seconds: Annotated[float, typer.Option(metavar="S", min=0.1, help="Simulated time of a trial.")] = 30.0,
    most: Annotated[int, typer.Option(metavar="N", min=3, help="Maximum of trials in a row.")] = MOST,
    data: NoData = "",  # noqa: ARG001
    file: Json = None,
) -> None:
    """Print the table."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sizes, counts = whole_numbers("--trials", trials, least=0), whole_numbers("--workers", workers, least=1)
    spec, here = sampled_by(sampler, load_spec(study)), surroundings(workers=1, threads=cores())
    rows = [_row(spec, size, number, storage, seconds, most) for size in sizes for number in counts]
    largest = max((row for row in rows if row["trials"] == min(sizes)), key=lambda row: row["workers"])
    settings = {
        "study": study,
        "sampler": spec.search.sampler,
        "epochs": spec.epochs,
        "seconds": seconds,
        "is_server": storage is not None,
    }
    figures = {"benchmark": "scale", **here, "settings": settings, "rows": rows, "ratio": largest["busy"] / TARGET}
    publish(_table(rows, settings), figures, file)


def _row(spec: StudySpec, size: int, workers: int, url: str | None, seconds: float, most: int) -> dict[str, Any]:
    tell(f"A study of {size:,} trials, {workers:,} workers.")
    trained = max(2 * workers, min(most, (1 + ROUNDS) * workers), 3)
    longer = spec.overridden(trials=size + trained, name=f"scale-{size}-{workers}")
    with tempfile.TemporaryDirectory() as folder:
        url = url or f"sqlite:///{folder}/trials.db"
        fill(create_study(open_storage(url, create=True), longer, no_data()).optuna, spec, size)
        storage = open_storage(url, create=True)
        study = create_study(storage, longer, no_data())  # as in a resumed run
        study.optuna.pruner = Merciful(study.optuna.pruner)
        executor, asks = Simulated(workers, seconds, spec.epochs), Asks()
        start = time.perf_counter()
        with Interrupt() as interrupt, asks.watched():
            loop.optimize(Stage(study, longer, executor, Progress(), interrupt), CLASSES)
        capacity = trained / (time.perf_counter() - start)
        row = _measured(executor, asks, capacity)
        row |= {"trials": size, "workers": workers, "trained": trained, "bytes": _bytes(storage.backend)}
        storage.engine.dispose()
    return row


def _measured(executor: Simulated, asks: Asks, capacity: float) -> dict[str, Any]:
    busy, coordinator = executor.shares()
    return {
        "asks": 1 / median(asks.seconds),
        "capacity": capacity,
        "latency": median(executor.latencies or [0.0]),
        "latency_95": quantiles(executor.latencies, n=20)[-1] if len(executor.latencies) > 1 else 0.0,
        "busy": busy,
        "coordinator": coordinator,
    }


def _bytes(storage: RDBStorage) -> int:
    with storage.engine.connect() as connection:
        if storage.engine.name == "sqlite":
            pages, size = (
                connection.execute(text(f"PRAGMA {name}")).scalar_one() for name in ("page_count", "page_size")
            )
            return int(pages * size)
        return int(connection.execute(text("SELECT pg_database_size(current_database())")).scalar_one())


def _table(rows: list[dict[str, Any]], settings: dict[str, Any]) -> Table:
    columns = ("trials", "workers", "asks/s", "trials/s", "latency", "95 %", "busy", "coordinator", "storage")
    cells = [
        (
            f"{row['trials']:,}",
            f"{row['workers']:,}",
            f"{row['asks']:.1f}",
            f"{row['capacity']:.1f}",
            f"{row['latency'] * 1e3:,.0f}",
            f"{row['latency_95'] * 1e3:,.0f}",
            f"{row['busy']:.0%}",
            f"{row['coordinator']:.0%}",
            f"{row['bytes'] / 2**20:.1f}",
        )
        for row in rows
    ]
    storage = "a database server" if settings["is_server"] else "SQLite"
    caption = (
        f"Trials of {settings['epochs']} epochs and {settings['seconds']:g} simulated seconds, {settings['study']}: "
        f"{settings['sampler']}, on {storage}; latency in ms, storage in MiB."
    )
    return Table("How many workers one coordinator keeps busy", columns, cells, caption, text_columns=frozenset())


if __name__ == "__main__":
    perform(scale, __doc__ or "")
