"""Where trainings run. An executor takes tasks, trains each in a worker and hands back events; it never sees the
storage.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from fmnist.config import TrialConfig
from fmnist.curve import CurvePoint

FailureKind = Literal["diverged", "memory", "latency", "error"]


@dataclass(frozen=True)
class Task:
    """One training. `key` is what a person calls it; with `checkpoint` the trained network is saved in that folder.

    With `snapshot` the training is kept in that file from time to time, and goes on from there when it is tried again.
    """

    key: str
    config: TrialConfig
    seed: int
    images: Literal["search", "full"]  # train and score on the search splits, or train on all with nothing to score
    checkpoint: Path | None = None
    snapshot: Path | None = None
    max_latency_ms: float | None = None  # of one image; a slower network is not trained


@dataclass(frozen=True)
class EpochEnd:
    """A task's epoch is over; its validation figures are None on the full images."""

    key: str
    point: CurvePoint
    images_per_second: float


@dataclass(frozen=True)
class Resumed:
    """A task goes on after these epochs, the first of it, which an earlier try or an earlier run had trained."""

    key: str
    curve: tuple[CurvePoint, ...]


@dataclass(frozen=True)
class Measured:
    """How long the task's network takes for one image, where the task limits that."""

    key: str
    latency_ms: float


@dataclass(frozen=True, eq=False)
class Predicted:
    """What the trained network of a task says of the validation images, once it is trained to its end.

    Shape: labels [N]; probabilities [N, C].
    """

    key: str
    labels: NDArray[np.int64]
    probabilities: NDArray[np.float32]


@dataclass(frozen=True)
class Kept:
    """The task's snapshot is on the disk."""

    key: str


@dataclass(frozen=True)
class Noted:
    """Something about a task that a person should read; it goes on."""

    key: str
    text: str


@dataclass(frozen=True)
class Finished:
    """A task is over: trained to its end, or stopped on request after the epoch it was in."""

    key: str
    seconds: float


@dataclass(frozen=True)
class Failed:
    """A task ended without a result: it diverged, memory did not suffice, its network is too slow, or something
    broke.
    """

    key: str
    kind: FailureKind
    reason: str
    seconds: float


Event = EpochEnd | Resumed | Measured | Predicted | Kept | Noted | Finished | Failed


class Later:
    """In place of a task: there is none now, and there may be one in a moment."""


class Executor(Protocol):
    """What the search loop asks of any place where trainings run."""

    def free(self) -> int:
        """How many more tasks can start now."""
        ...

    def running(self) -> list[str]:
        """Keys of the tasks that were submitted and are not over."""
        ...

    def submit(self, task: Task) -> None:
        """Starts the task on a free worker."""
        ...

    def stop(self, key: str) -> None:
        """Asks the task to end after its epoch; its Finished event still comes."""
        ...

    def events(self, timeout: float) -> list[Event]:
        """What happened since the last call, waiting up to `timeout` seconds for something to happen."""
        ...


def drive(
    executor: Executor,
    next_task: Callable[[], Task | Later | None],
    handle: Callable[[Event], None],
    stopped: Callable[[], bool],
) -> None:
    """Keeps the executor busy with `next_task` and passes its events to `handle`, until there are no more tasks or it
    is `stopped`.
    """
    more = True
    while not stopped():
        while more and executor.free():
            task = next_task()
            if isinstance(task, Later):
                break
            if task is None:
                more = False
            else:
                executor.submit(task)
        if not more and not executor.running():
            return  # with more to do and no place for it, as when a cluster has lost its nodes, it waits for one
        for event in executor.events(timeout=0.2):
            handle(event)


def drain(executor: Executor, handle: Callable[[Event], None]) -> None:
    """What has happened already has been passed to `handle`."""
    while arrived := executor.events(timeout=0):
        for event in arrived:
            handle(event)
