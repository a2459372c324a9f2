"""The parts of a training step and of the scoring, timed by patching the functions that `fit` calls."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import wraps
from typing import Any, Literal, ParamSpec, TypeVar, get_args
from unittest.mock import patch

import torch

from fmnist import batches, train
from fmnist.adam import FusedAdam
from fmnist.config import TrialConfig
from fmnist.data.splits import SearchSplits
from fmnist.scoring import class_scores

Part = Literal["gather", "augment", "forward", "backward", "optimizer", "evaluate"]
PARTS: tuple[Part, ...] = get_args(Part)
P = ParamSpec("P")
R = TypeVar("R")

# The functions whose return ends a part of `_Run.block`, in order; on a CPU a block is one step. The rest of the step
# belongs to the optimizer.
ENDS: tuple[tuple[Any, str, Part], ...] = (
    (batches, "as_input", "gather"),
    (batches, "augment", "augment"),
    (train, "cross_entropy", "forward"),
    (FusedAdam, "zero_grad", "optimizer"),
    (torch.Tensor, "backward", "backward"),
)


@dataclass(frozen=True)
class EpochParts:
    """Seconds, summed over the timed epochs."""

    parts: dict[Part, float]
    whole: float  # as measured by `fit`
    unwatched: float  # of another epoch, without timing its parts
    epochs: int

    @property
    def network(self) -> float:
        """Seconds of forward and backward pass."""
        return self.parts["forward"] + self.parts["backward"]

    @property
    def other(self) -> float:
        """The rest: the order of the images, batches, the sum of losses, and the timing itself."""
        return self.whole - sum(self.parts.values())


class Laps:
    """A stopwatch that adds the time since the last lap to a part."""

    def __init__(self) -> None:
        self.seconds: dict[Part, float] = dict.fromkeys(PARTS, 0.0)
        self._in_step = False  # scoring calls some of the functions as well
        self._last = 0.0

    def ends(self, part: Part, function: Callable[P, R]) -> Callable[P, R]:
        """Wrap a function whose return ends the part."""

        @wraps(function)
        def timed(*args: P.args, **kwargs: P.kwargs) -> R:
            result = function(*args, **kwargs)
            if self._in_step:
                self._lap(part)
            return result

        return timed

    def step(self, function: Callable[P, R]) -> Callable[P, R]:
        """Wrap the training step; the time after its last lap belongs to the optimizer."""

        @wraps(function)
        def timed(*args: P.args, **kwargs: P.kwargs) -> R:
            self._in_step, self._last = True, time.perf_counter()
            result = function(*args, **kwargs)
            self._lap("optimizer")
            self._in_step = False
            return result

        return timed

    def evaluation(self, function: Callable[P, R]) -> Callable[P, R]:
        """Wrap the scoring."""

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
    """Time the parts of `epochs` epochs on the CPU, after a warm-up epoch and one without timing.

    Uses PyTorch's current number of threads.
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
    with ExitStack() as patches:
        for owner, name, part in ENDS:
            patches.enter_context(patch.object(owner, name, laps.ends(part, getattr(owner, name))))
        patches.enter_context(patch.object(train._Run, "block", laps.step(train._Run.block)))
        patches.enter_context(patch.object(train, "class_scores", laps.evaluation(class_scores)))
        yield
