"""Claim: how many workers one coordinator keeps busy, and how that falls as its study grows.

    python benchmarks/scale.py [--trials N,N] [--workers N,N] [--sampler NAME] [--storage URL] [--json FILE]

A study of the space of `standard` is filled with so many finished trials. Then the loop of `fmnist-search run` drives
so many workers through it: a real sampler (TPE, where `standard` itself has gp), its pruner and storage, but workers
that train in simulated time, with learning curves that were recorded (curves.csv). A trial takes them 30 seconds, more
or less, its epochs come one after another, and the coordinator's own work passes in simulated time as long as it really
took. So a thousand workers need no thousand cores, and half a minute of training takes no time. No trial is pruned:
each is reported and judged after every epoch.

asks         proposals a second: a new trial, its configuration from the sampler, its notes, handed to a worker
trials       a second that one coordinator could take from ask to end, if it did nothing else
latency      between the end of an epoch and when the coordinator takes it up, in ms: median and 95th percentile
busy         share of the workers' time that they train, from the end of the first trial to the beginning of the last
coordinator  share of that time that it works
storage      MiB, of the whole database

`--storage` names an empty database of a server; without it each row has a SQLite file of its own. `ratio` in the JSON
is `busy` of the row with most workers in the smallest study, by 0.9.
"""

import sys
from pathlib import Path

if __name__ == "__main__":
    # A script's own folder comes first on the path, where `profile` would stand before the standard library's.
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
from benchmarks.options import sampled_by, whole_numbers
from benchmarks.table import perform, publish, surroundings, tell
from fmnist.machine import cores
from search.executors import EpochEnd, Event, Finished, Later, Task
from search.job import search as loop
from search.job.interrupt import Interrupt
from search.job.progress.display import Silent
from search.samplers.names import Sampler
from search.storage.opening import open_storage
from search.study.spec import StudySpec, load_spec
from search.study.study import create_study
from search.terminal.table import Table

TARGET = 0.9  # of the workers' time
SPREAD = 0.2  # of a trial's time, to either side
ROUNDS = 2  # trials that each worker trains after its first, or at least one
MOST = 600  # trials that are trained in a row of the table, unless there are so many workers


@dataclass
class Simulated:
    """An executor whose workers train in simulated time; what its caller does between two calls takes as long there as
    it really took.
    """

    places: int
    seconds: float  # of a trial, on average
    epochs: int
    latencies: list[float] = field(default_factory=list)
    trainings: list[tuple[float, float]] = field(default_factory=list)  # from, to
    work: list[tuple[float, float]] = field(default_factory=list)  # of the coordinator: from, to
    _now: float = 0.0
    _since: float = field(default_factory=time.perf_counter)  # when it was last handed control, in real time
    _coming: list[tuple[float, int, Event]] = field(default_factory=list)
    _order: Iterator[int] = field(default_factory=count)
    _running: dict[str, float] = field(default_factory=dict)  # key -> when it began

    @property
    def now(self) -> float:
        """Simulated seconds, the coordinator's present work included."""
        return self._now + time.perf_counter() - self._since

    def free(self) -> int:
        """Workers without a task."""
        return self.places - len(self._running)

    def running(self) -> list[str]:
        """Keys of the tasks in training."""
        return list(self._running)

    def submit(self, task: Task) -> None:
        """A worker begins; its epochs and its end will come in time."""
        begun = self._running[task.key] = self.now
        whole = self.seconds * random.Random(task.key).uniform(1 - SPREAD, 1 + SPREAD)
        for number, value in enumerate(recorded_curve(self.epochs, task.seed), start=1):
            at = begun + whole * number / self.epochs
            self._put(at, EpochEnd(task.key, number, 0.5, 0.5, value, value, 1e4, whole * number / self.epochs))
        self._put(begun + whole, Finished(task.key, whole))

    def stop(self, key: str) -> None:
        """Nothing is pruned here."""
        raise NotImplementedError(key)

    def events(self, timeout: float) -> list[Event]:  # noqa: ARG002 - the protocol's; simulated waiting costs nothing
        """All that has come by now; where there is nothing, the next to come."""
        before, self._now = self._now, self.now
        self.work.append((before, self._now))
        self._now = max(self._now, self._coming[0][0])
        found = []
        while self._coming and self._coming[0][0] <= self._now:
            at, _, event = heapq.heappop(self._coming)
            found.append(event)
            if isinstance(event, Finished):
                self.trainings.append((self._running.pop(event.key), at))
            else:
                self.latencies.append(self._now - at)
        self._since = time.perf_counter()
        return found

    def shares(self) -> tuple[float, float]:
        """Of the workers' time that they trained, and of the coordinator's that it worked, while there was work for
        all.
        """
        start, end = min(to for _, to in self.trainings), max(begun for begun, _ in self.trainings)
        whole = max(end - start, 1e-9)
        return _within(self.trainings, start, end) / (whole * self.places), _within(self.work, start, end) / whole

    def _put(self, at: float, event: Event) -> None:
        heapq.heappush(self._coming, (at, next(self._order), event))


def _within(spans: Sequence[tuple[float, float]], start: float, end: float) -> float:
    """Seconds of the spans between the two."""
    return sum(max(0.0, min(to, end) - max(begun, start)) for begun, to in spans)


@dataclass
class Asks:
    """How long each proposal took that became a task."""

    seconds: list[float] = field(default_factory=list)

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Within, each is timed."""
        real = loop._Loop.next_task

        def timed(this: loop._Loop) -> Task | Later | None:
            start = time.perf_counter()
            task = real(this)
            if isinstance(task, Task):
                self.seconds.append(time.perf_counter() - start)
            return task

        with patch.object(loop._Loop, "next_task", timed):
            yield


def scale(
    trials: Annotated[str, typer.Option(metavar="N,N", help="Finished trials in the study.")] = "1000",
    workers: Annotated[
        str, typer.Option(metavar="N,N", help="Workers, one row each for each size of the study.")
    ] = "16,64",
    study: Annotated[str, typer.Option(metavar="NAME", help="Whose space and pruner are used.")] = "standard",
    sampler: Annotated[Sampler, typer.Option(help="The proposals' own time is in the figures.")] = "tpe",
    storage: Annotated[
        str | None, typer.Option(metavar="URL", help="An empty database of a server; without it SQLite files.")
    ] = None,
    seconds: Annotated[float, typer.Option(metavar="S", min=0.1, help="That a trial takes a worker.")] = 30.0,
    most: Annotated[int, typer.Option(metavar="N", min=3, help="Trials that are trained in a row at most.")] = MOST,
    data: Annotated[str, typer.Option(hidden=True)] = "",  # noqa: ARG001 - all benchmarks take it
    file: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write everything there too.")] = None,
) -> None:
    """The table is on the screen."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sizes, crowds = whole_numbers("--trials", trials, least=0), whole_numbers("--workers", workers, least=1)
    spec, here = sampled_by(sampler, load_spec(study)), surroundings(workers=1, threads=cores())
    rows = [_row(spec, size, crowd, storage, seconds, most) for size in sizes for crowd in crowds]
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
        where = url or f"sqlite:///{folder}/trials.db"
        filled = create_study(open_storage(where, create=True), longer, no_data())
        fill(filled.optuna, spec, size)
        opened = open_storage(where, create=True)
        found = create_study(opened, longer, no_data())  # as a run that goes on
        found.optuna.pruner = Merciful(found.optuna.pruner)
        executor, asks = Simulated(workers, seconds, spec.epochs), Asks()
        start = time.perf_counter()
        with Interrupt() as interrupt, asks.watched():
            loop.optimize(found, longer, executor, Silent(), interrupt, CLASSES)
        took = time.perf_counter() - start
        row = _measured(executor, asks, trained / took)
        row |= {"trials": size, "workers": workers, "trained": trained, "bytes": _bytes(opened)}
        opened.engine.dispose()
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


def _bytes(opened: RDBStorage) -> int:
    with opened.engine.connect() as connection:
        if opened.engine.name == "sqlite":
            pages, size = (
                connection.execute(text(f"PRAGMA {name}")).scalar_one() for name in ("page_count", "page_size")
            )
            return int(pages * size)
        return int(connection.execute(text("SELECT pg_database_size(current_database())")).scalar_one())


def _table(rows: list[dict[str, Any]], settings: dict[str, Any]) -> Table:
    columns = ("trials", "workers", "asks/s", "trials/s", "latency", "95 %", "busy", "coordinator", "storage")
    shown = [
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
    where = "a database server" if settings["is_server"] else "SQLite"
    caption = (
        f"Trials of {settings['epochs']} epochs and {settings['seconds']:g} simulated seconds, {settings['study']}: "
        f"{settings['sampler']}, "
        f"on {where}; "
        "latency in ms, storage in MiB."
    )
    return Table("How many workers one coordinator keeps busy", columns, shown, caption, text_columns=frozenset())


if __name__ == "__main__":
    perform(scale, __doc__ or "")
