"""Retries of tasks, and the time limit on a worker's silence. Shared by all executors."""

import time
from collections import deque
from dataclasses import dataclass, field

from search.errors import SearchError
from search.executors import Event, Failed, FailureKind, Finished, Task

MAX_TRIES = 3  # of a task whose worker dies or hangs
MAX_STARTS = 3  # consecutive workers that end before they could train
# A worker counts as hung when its silence exceeds this multiple of its task's slowest epoch, or, before the first
# epoch, of the slowest epoch of any task.
SLOWER = 10
SILENCE = 60.0  # seconds in addition
FIRST_SILENCE = 600.0  # seconds in addition for the first epoch, and for a worker's start


@dataclass
class Silence:
    """How long one worker has been silent, and how long it may be."""

    slowest_of_all: list[float]  # seconds of the slowest epoch of any task; one item, shared by all workers
    limit: float | None  # seconds; None derives it from the epochs
    _heard: float = field(default_factory=time.monotonic)
    _slowest: float = 0.0  # seconds of its task's slowest epoch

    def begin(self) -> None:
        """The worker begins a task."""
        self._heard, self._slowest = time.monotonic(), 0.0

    def heard(self, *, is_epoch: bool) -> None:
        """The worker sent a message: the end of an epoch, or another one."""
        now = time.monotonic()
        if is_epoch:
            self._slowest = max(self._slowest, now - self._heard)
            self.slowest_of_all[0] = max(self.slowest_of_all[0], now - self._heard)
        self._heard = now

    def too_long(self, *, is_ready: bool) -> float | None:
        """Return the seconds of silence if the worker counts as hung, else None."""
        silent = time.monotonic() - self._heard
        return silent if silent > self._longest(is_ready) else None

    def _longest(self, is_ready: bool) -> float:
        if self.limit is not None and is_ready:
            return self.limit
        return SLOWER * self._slowest + SILENCE if self._slowest else SLOWER * self.slowest_of_all[0] + FIRST_SILENCE


@dataclass
class Attempts:
    """The tasks that wait for a worker, for the first time or because their worker died."""

    waiting: deque[Task] = field(default_factory=deque)
    _tries: dict[str, int] = field(default_factory=dict)
    _stopped: set[str] = field(default_factory=set)  # asked to end, and not ended yet
    _failed_starts: int = 0  # in a row

    def stop(self, key: str) -> None:
        """Record that the task, which has not ended, was asked to end."""
        self._stopped.add(key)

    def over(self, key: str) -> None:
        """Forget the task, which has ended."""
        self._tries.pop(key, None)
        self._stopped.discard(key)

    def started(self) -> None:
        """Record that a worker is ready to train."""
        self._failed_starts = 0

    def not_started(self, end: str) -> None:
        """Record that a worker ended before it could train; `end` is the cause.

        Raises: SearchError if it is the last of MAX_STARTS in a row.
        """
        self._failed_starts += 1
        if self._failed_starts == MAX_STARTS:
            raise SearchError(
                f"{MAX_STARTS} worker processes in a row ended before they could train: {end}. See their messages "
                "above."
            )

    def died(self, task: Task, end: str, kind: FailureKind, seconds: float) -> list[Event]:
        """Queue the task of a dead worker again, or fail it after MAX_TRIES; `end` is the cause of the death."""
        self._tries[task.key] = self._tries.get(task.key, 0) + 1
        if self._tries[task.key] < MAX_TRIES:
            self.waiting.append(task)
            return []
        self.over(task.key)
        return [Failed(task.key, kind, f"its worker process ended {MAX_TRIES} times, the last time: {end}", seconds)]

    def drop_stopped(self) -> list[Event]:
        """End the waiting tasks that were asked to end: their workers died before the message reached them."""
        dropped = [task for task in self.waiting if task.key in self._stopped]
        for task in dropped:
            self.waiting.remove(task)
            self.over(task.key)
        return [Finished(task.key, 0.0) for task in dropped]
