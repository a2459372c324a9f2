"""Searches whose trainings take no time: workers that train recorded curves, epoch by epoch, in recorded seconds.

benchmarks/replayed_methods.py has the ways of searching.
"""

import heapq
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
import optuna
from numpy.typing import NDArray

from benchmarks.replay import Replay
from search.study.spec import StudySpec

State = Literal["running", "paused", "complete", "pruned"]


@dataclass(eq=False)
class Run:
    """A trial of a replayed search."""

    number: int
    knobs: Mapping[str, Any]
    curve: NDArray[np.float64]  # the F1 of all epochs, as they would be
    seconds: float  # of an epoch
    f1: list[float] = field(default_factory=list)
    when: list[int] = field(default_factory=list)  # how many epochs the search had trained after each of its own
    state: State = "running"
    trial: optuna.Trial | None = None


class Method(Protocol):
    """What chooses the trials of a replayed search."""

    def next_knobs(self, runs: list[Run], left: float) -> Mapping[str, Any] | Run | None:
        """Return the configuration of a new trial or a paused trial; None at the search's end. `left`: epochs."""
        ...

    def begun(self, run: Run) -> None:
        """A new trial has its number."""
        ...

    def goes_on(self, runs: list[Run], run: Run, left: float) -> bool:
        """Whether the trial continues after an epoch that was not its last."""
        ...

    def ended(self, run: Run) -> None:
        """A trial is complete or was pruned."""
        ...


Make = Callable[[StudySpec, int, Replay], Method]


@dataclass(frozen=True)
class Searched:
    """One search: after `epochs[i]` epochs and `seconds[i]` seconds the true F1 of its result was `f1[i]`."""

    epochs: NDArray[np.int64]
    seconds: NDArray[np.float64]
    f1: NDArray[np.float64]
    runs: list[Run]
    used: int  # epochs in all

    def at(self, epochs: float) -> float:
        """Return the true F1 of its result after that many epochs, or 0 before the first complete trial."""
        return self._at(self.epochs, epochs)

    def at_second(self, seconds: float) -> float:
        """Return the true F1 of its result after that many seconds, or 0 before the first complete trial."""
        return self._at(self.seconds, seconds)

    def _at(self, times: NDArray[Any], time: float) -> float:
        count = int(np.searchsorted(times, time, side="right"))
        return float(self.f1[count - 1]) if count else 0.0


def search(replay: Replay, make: Make, seed: int, budget: int, *, most: float = math.inf, workers: int = 1) -> Searched:
    """Run one search with a budget of epochs and at most `most` trials, with so many workers side by side."""
    method = make(replay.spec.overridden(trials=max(1, budget // replay.epochs)), seed, replay)
    runs: list[Run] = []
    busy: list[tuple[float, int, Run]] = []  # a worker's next epoch ends, in the order of time
    found: list[tuple[int, float, float]] = []
    used, now, best, order = 0, 0.0, -1.0, 0
    while True:
        while len(busy) < workers and used + len(busy) < budget:
            chosen = method.next_knobs(runs, budget - used - len(busy)) if len(runs) < most or not busy else None
            if chosen is None or (not isinstance(chosen, Run) and len(runs) >= most):
                break
            if isinstance(chosen, Run):
                run = chosen
                run.state = "running"
            else:
                curve = replay.training(chosen, np.random.default_rng([seed, len(runs)]))
                run = Run(len(runs), dict(chosen), curve, replay.seconds(chosen))
                runs.append(run)
                method.begun(run)
            heapq.heappush(busy, (now + run.seconds, order := order + 1, run))
        if not busy:
            break
        now, _, run = heapq.heappop(busy)
        used += 1
        run.f1.append(float(run.curve[len(run.f1)]))
        run.when.append(used)
        if len(run.f1) == replay.epochs:
            run.state = "complete"
            method.ended(run)
            if run.f1[-1] > best:
                best = run.f1[-1]
                found.append((used, now, float(replay.truth(run.knobs)[-1])))
        elif method.goes_on(runs, run, budget - used - len(busy)):
            if used + len(busy) < budget:
                heapq.heappush(busy, (now + run.seconds, order := order + 1, run))
        elif run.state == "running":
            run.state = "pruned"
            method.ended(run)
    epochs, seconds, f1 = zip(*found, strict=True) if found else ((), (), ())
    return Searched(np.array(epochs), np.array(seconds), np.array(f1), runs, used)
