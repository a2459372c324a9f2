"""The parts of a search's time: the training and waiting of the workers, and the work of the coordinator."""

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
from search.storage.own_trials import OwnTrials

P = ParamSpec("P")
R = TypeVar("R")
Span = tuple[float, float]  # from, to

CALLS: tuple[tuple[Any, tuple[str, ...]], ...] = (
    (optuna.Study, ("ask", "tell", "get_trials")),
    (optuna.Trial, ("report", "should_prune", "set_user_attr")),
    (OwnTrials, ("set_trial_system_attr",)),
)


@dataclass(frozen=True)
class SearchParts:
    """Seconds; those of the workers are summed over all."""

    workers: int
    threads: int
    images: int
    wall: float  # from the start of the first trial to the end of the last one
    training: float
    verdicts: float  # after each epoch a worker briefly waits for a stop
    between: float  # from the end of a trial to the start of the next one, and until the slowest worker has started
    tail: float  # after the last trial of a worker, while others are training
    coordinator: float  # of the wall clock, parallel to the training, without waiting
    optuna: float  # calls of Optuna, most of the coordinator's time


class Meter:
    """Records the spans of timed functions; nested calls count once."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self._depth = 0

    def timed(self, function: Callable[P, R]) -> Callable[P, R]:
        """Wrap a function."""

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
    """Run a search of `trials` trials of `config` and time its parts."""
    meter = Meter()
    with _metered(meter):
        result = search(source, config, trials=trials, workers=workers, storage=f"sqlite:///{folder}/trials.db")
    wall = result.ended - result.began
    busy = sum(end.seconds for _, end in result.ends)
    tail = sum(result.ended - at for at, _ in result.ends[-workers:])
    verdicts = config.epochs * _last_verdicts(result)
    return SearchParts(
        workers=workers,
        threads=result.threads,
        images=result.images,
        wall=wall,
        training=busy - verdicts,
        verdicts=verdicts,
        between=wall * workers - busy - tail,
        tail=tail,
        coordinator=wall - _seconds_within(result, result.watched.waits),
        optuna=_seconds_within(result, meter.spans),
    )


def _last_verdicts(result: Searched) -> float:
    """Return the seconds between the last epoch and the end of each trial, in which the workers only wait."""
    last = {event.key: event.point.seconds or 0.0 for _, event in result.watched.seen if isinstance(event, EpochEnd)}
    return sum(end.seconds - last[end.key] for _, end in result.ends)


def _seconds_within(result: Searched, spans: Sequence[Span]) -> float:
    """Return the seconds of the spans between the start of the first trial and the end of the search."""
    return sum(max(0.0, min(to, result.ended) - max(start, result.began)) for start, to in spans)


@contextmanager
def _metered(meter: Meter) -> Iterator[None]:
    with ExitStack() as patches:
        for owner, names in CALLS:
            for name in names:
                patches.enter_context(patch.object(owner, name, meter.timed(getattr(owner, name))))
        yield
