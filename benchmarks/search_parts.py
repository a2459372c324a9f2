"""Where the time of a search goes, seen from its coordinator: what the workers train and wait for, and what the storage
takes.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar
from unittest.mock import patch

import optuna

from benchmarks.our_loop import Searched, search
from fmnist.config import TrialConfig
from fmnist.data.sources import Source
from search.executors import EpochEnd

P = ParamSpec("P")
R = TypeVar("R")
Span = tuple[float, float]  # from, to

CALLS: tuple[tuple[Any, tuple[str, ...]], ...] = (
    (optuna.Study, ("ask", "tell", "get_trials")),
    (optuna.Trial, ("report", "should_prune", "set_user_attr")),
)


@dataclass(frozen=True)
class SearchParts:
    """Seconds; of the workers, summed over them all."""

    workers: int
    threads: int
    images: int
    wall: float  # from the first trial's start to the last one's end
    training: float
    verdicts: float  # after each epoch a worker waits a moment for word to stop
    between: float  # from a trial's end to the next one's start, and until the slowest worker has started
    tail: float  # after a worker's last trial, while others are still at theirs
    coordinator: float  # of the wall clock, beside the training: all that the coordinator does but wait
    optuna: float  # the coordinator's calls of Optuna, which is most of that


class Meter:
    """Notes when the outermost of the functions it times were at work."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self._depth = 0

    def timed(self, function: Callable[P, R]) -> Callable[P, R]:
        """The function, metered."""

        @wraps(function)
        def metered(*args: P.args, **kwargs: P.kwargs) -> R:
            self._depth += 1
            start = time.time()
            try:
                return function(*args, **kwargs)
            finally:
                self._depth -= 1
                if self._depth == 0:
                    self.spans.append((start, time.time()))

        return metered


def time_search(source: Source, config: TrialConfig, *, trials: int, workers: int, folder: Path) -> SearchParts:
    """A search of `trials` trials of `config` is timed in its parts."""
    meter = Meter()
    with _metered(meter):
        found = search(source, config, trials=trials, workers=workers, storage=f"sqlite:///{folder}/trials.db")
    wall = found.ended - found.began
    busy = sum(end.seconds for _, end in found.ends)
    tail = sum(found.ended - at for at, _ in found.ends[-workers:])
    verdicts = config.epochs * _last_verdicts(found)
    return SearchParts(
        workers=workers,
        threads=found.threads,
        images=found.images,
        wall=wall,
        training=busy - verdicts,
        verdicts=verdicts,
        between=wall * workers - busy - tail,
        tail=tail,
        coordinator=wall - _seconds_of(found, found.watched.waits),
        optuna=_seconds_of(found, meter.spans),
    )


def _last_verdicts(found: Searched) -> float:
    """How long the workers waited after the last epoch of each trial: nothing else lies between it and the trial's
    end.
    """
    last = {event.key: event.seconds for _, event in found.watched.seen if isinstance(event, EpochEnd)}
    return sum(end.seconds - last[end.key] for _, end in found.ends)


def _seconds_of(found: Searched, spans: Sequence[Span]) -> float:
    """How much of the time between the search's first training and its end lies within the spans."""
    return sum(max(0.0, min(to, found.ended) - max(start, found.began)) for start, to in spans)


@contextmanager
def _metered(meter: Meter) -> Iterator[None]:
    with ExitStack() as wrapped:
        for owner, names in CALLS:
            for name in names:
                wrapped.enter_context(patch.object(owner, name, meter.timed(getattr(owner, name))))
        yield
