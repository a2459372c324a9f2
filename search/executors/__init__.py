"""Executors run trainings: they take tasks, train each in a worker and return events. They never open the storage."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from fmnist.config import TrialConfig
from fmnist.curve import CurvePoint

FailureKind = Literal["diverged", "memory", "latency", "error"]
StopKind = Literal["end", "pause"]


@dataclass(frozen=True)
class Task:
    """One training. `key` is its name in messages; with `checkpoint` the trained network is saved in that folder.

    With `snapshot` the training is saved to that file from time to time, and resumes from it when it is retried.
    With `temperature` the class scores of the saved network are divided by it; the training is the same.
    """

    key: str
    config: TrialConfig
    seed: int
    images: Literal["search", "full"]  # train and score on the search splits, or train on all images without scoring
    checkpoint: Path | None = None
    snapshot: Path | None = None
    max_latency_ms: float | None = None  # of one image; a slower network is not trained
    temperature: float | None = None
    deployed: TrialConfig | None = None  # the network that the limit concerns, if it is not the one to train
    teachers: tuple[Path, ...] = ()  # checkpoints whose probabilities the network learns instead of the labels
    threads: int | None = None  # of the CPU; None: as many as a worker usually has


@dataclass(frozen=True)
class EpochEnd:
    """A task has trained an epoch; its validation figures are None on the full images."""

    key: str
    point: CurvePoint
    images_per_second: float


@dataclass(frozen=True)
class Resumed:
    """A task resumes after these epochs, which an earlier try or run has trained."""

    key: str
    curve: tuple[CurvePoint, ...]


@dataclass(frozen=True)
class Measured:
    """The latency of the task's network for one image, if the task limits it."""

    key: str
    latency_ms: float


@dataclass(frozen=True, eq=False)
class Predicted:
    """The predictions of a task's network on the validation images after its last epoch.

    Shape: labels [N]; probabilities [N, C].
    """

    key: str
    labels: NDArray[np.int64]
    probabilities: NDArray[np.float32]


@dataclass(frozen=True)
class SnapshotSaved:
    """The task's snapshot has been saved."""

    key: str


@dataclass(frozen=True)
class Message:
    """A message about a task that continues."""

    key: str
    text: str


@dataclass(frozen=True)
class Finished:
    """A task has ended: it trained all its epochs, or was stopped after the current one."""

    key: str
    seconds: float


@dataclass(frozen=True)
class Failed:
    """A task ended without a result: it diverged, ran out of memory, exceeded the latency limit, or raised an error."""

    key: str
    kind: FailureKind
    reason: str
    seconds: float


Event = EpochEnd | Resumed | Measured | Predicted | SnapshotSaved | Message | Finished | Failed


class NoTaskYet:
    """Returned in place of a task when there is none now but may be one soon."""


class Executor(Protocol):
    """The interface between the search loop and the workers."""

    def free(self) -> int:
        """Return how many more tasks can start now."""
        ...

    def running(self) -> list[str]:
        """Return the keys of the submitted tasks that have not ended."""
        ...

    def threads_of_each(self, count: int) -> list[int | None]:
        """Return `Task.threads` of each of so many trainings: if they are few, they may use idle cores."""
        ...

    def turns_of_each(self, count: int) -> list[float]:
        """Return the share of each of so many trainings of one length after which it pauses, so that no worker is idle
        at their end; 1 if it does not.
        """
        ...

    def submit(self, task: Task) -> None:
        """Start the task on a free worker."""
        ...

    def stop(self, key: str, *, pause: bool = False) -> None:
        """Ask the task to end after the current epoch; its Finished event still arrives.

        With `pause` its snapshot is saved first, unless that epoch is its last.
        """
        ...

    def events(self, timeout: float) -> list[Event]:
        """Return the events since the last call, waiting up to `timeout` seconds for the first one."""
        ...


def drive(
    executor: Executor,
    next_task: Callable[[], Task | NoTaskYet | None],
    handle: Callable[[Event], None],
    stopped: Callable[[], bool],
) -> None:
    """Submit tasks from `next_task` and pass events to `handle` until no tasks remain or `stopped` returns True."""
    has_more = True
    while not stopped():
        while has_more and executor.free():
            task = next_task()
            if isinstance(task, NoTaskYet):
                break
            if task is None:
                has_more = False
            else:
                executor.submit(task)
        if not has_more and not executor.running():
            return  # but with tasks and no free place, as when a cluster has lost its nodes, wait for a place
        for event in executor.events(timeout=0.2):
            handle(event)
