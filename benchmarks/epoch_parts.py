"""The parts of a training step and of the scoring, timed from outside: the functions that `fit` calls are wrapped for a
while.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import wraps
from typing import Any, Literal, ParamSpec, TypeVar, get_args
from unittest.mock import patch

import torch

from fmnist import train
from fmnist.adam import FusedAdam
from fmnist.config import TrialConfig
from fmnist.data.splits import SearchSplits
from fmnist.scoring import class_scores

Part = Literal["gather", "augment", "forward", "backward", "optimizer", "evaluate"]
PARTS: tuple[Part, ...] = get_args(Part)
P = ParamSpec("P")
R = TypeVar("R")

# What ends a part of `_Run.block`, which on a CPU is one step, in its order. Whatever comes after the last of them is
# the optimizer's.
ENDS: tuple[tuple[Any, str, Part], ...] = (
    (train, "as_input", "gather"),
    (train, "augment", "augment"),
    (train, "cross_entropy", "forward"),
    (FusedAdam, "zero_grad", "optimizer"),
    (torch.Tensor, "backward", "backward"),
)


@dataclass(frozen=True)
class EpochParts:
    """Seconds, summed over the measured epochs."""

    parts: dict[Part, float]
    whole: float  # as `fit` itself measures its epochs
    unwatched: float  # of one epoch more, without the wrapping
    epochs: int

    @property
    def network(self) -> float:
        """Forward and backward pass."""
        return self.parts["forward"] + self.parts["backward"]

    @property
    def other(self) -> float:
        """What no part accounts for: the order of the images, batches, the sum of losses, the wrapping itself."""
        return self.whole - sum(self.parts.values())


class Laps:
    """A stopwatch that gives the time since its last lap to a part."""

    def __init__(self) -> None:
        self.seconds: dict[Part, float] = dict.fromkeys(PARTS, 0.0)
        self._in_step = False  # scoring calls some of the same functions
        self._last = 0.0

    def ends(self, part: Part, function: Callable[P, R]) -> Callable[P, R]:
        """The function, with whose end the part ends."""

        @wraps(function)
        def timed(*args: P.args, **kwargs: P.kwargs) -> R:
            result = function(*args, **kwargs)
            if self._in_step:
                self._lap(part)
            return result

        return timed

    def step(self, function: Callable[P, R]) -> Callable[P, R]:
        """The function, within which the laps count; what is left at its end is the optimizer's."""

        @wraps(function)
        def timed(*args: P.args, **kwargs: P.kwargs) -> R:
            self._in_step, self._last = True, time.perf_counter()
            result = function(*args, **kwargs)
            self._lap("optimizer")
            self._in_step = False
            return result

        return timed

    def evaluation(self, function: Callable[P, R]) -> Callable[P, R]:
        """The function, which is the scoring."""

        @wraps(function)
        def timed(*args: P.args, **kwargs: P.kwargs) -> R:
            self._last = time.perf_counter()
            result = function(*args, **kwargs)
            self._lap("evaluate")
            return result

        return timed

    def _lap(self, part: Part) -> None:
        now = time.perf_counter()
        self.seconds[part] += now - self._last
        self._last = now


def time_epochs(config: TrialConfig, splits: SearchSplits, *, epochs: int) -> EpochParts:
    """`epochs` epochs of a training on the CPU are timed in their parts, after one that warms up and one that is not
    watched.

    The threads are those that PyTorch has at present.
    """
    longer = config.model_copy(update={"epochs": epochs + 2})
    laps = Laps()
    training = train.fit(longer, splits.train, splits.valid, seed=0, device=torch.device("cpu"))
    next(training)
    unwatched = next(training).seconds
    with _watched(laps):
        whole = sum(epoch.seconds for epoch in training)
    return EpochParts(laps.seconds, whole, unwatched, epochs)


@contextmanager
def _watched(laps: Laps) -> Iterator[None]:
    with ExitStack() as wrapped:
        for owner, name, part in ENDS:
            wrapped.enter_context(patch.object(owner, name, laps.ends(part, getattr(owner, name))))
        wrapped.enter_context(patch.object(train._Run, "block", laps.step(train._Run.block)))
        wrapped.enter_context(patch.object(train, "class_scores", laps.evaluation(class_scores)))
        yield
