"""How often a task is tried, and how long a worker may say nothing. The same wherever workers are."""

import time
from collections import deque
from dataclasses import dataclass, field

from search.errors import SearchError
from search.executors import Event, Failed, FailureKind, Finished, Task

MAX_TRIES = 3  # of a task whose worker dies under it, or hangs
MAX_STARTS = 3  # of workers in a row that end before they could train
# A worker hangs that is silent for so much longer than its task's slowest epoch; before there is an epoch, than the
# slowest of any task.
SLOWER = 10
SILENCE = 60.0  # seconds on top of that
FIRST_SILENCE = 600.0  # seconds for the first epoch, on top; and for a worker's start


@dataclass
class Silence:
    """Of one worker: since when, and how long it may last."""

    slowest_of_all: list[
        float
    ]  # seconds of the slowest epoch of any task; the one figure in it is shared by all workers
    limit: float | None  # seconds; without one it is by far longer than epochs take
    _heard: float = field(default_factory=time.monotonic)
    _slowest: float = 0.0  # seconds of its task's slowest epoch

    def begin(self) -> None:
        """The worker begins a task."""
        self._heard, self._slowest = time.monotonic(), 0.0

    def heard(self, *, is_epoch: bool) -> None:
        """The worker said something: that an epoch is over, or something else."""
        now = time.monotonic()
        if is_epoch:
            self._slowest = max(self._slowest, now - self._heard)
            self.slowest_of_all[0] = max(self.slowest_of_all[0], now - self._heard)
        self._heard = now

    def too_long(self, *, is_ready: bool) -> float | None:
        """The seconds of its silence, where they are more than a worker at work takes."""
        silent = time.monotonic() - self._heard
        return silent if silent > self._longest(is_ready) else None

    def _longest(self, is_ready: bool) -> float:
        if self.limit is not None and is_ready:
            return self.limit
        return SLOWER * self._slowest + SILENCE if self._slowest else SLOWER * self.slowest_of_all[0] + FIRST_SILENCE


@dataclass
class Attempts:
    """The tasks that wait for a worker, for the first time or after theirs has died under them."""

    waiting: deque[Task] = field(default_factory=deque)
    _tries: dict[str, int] = field(default_factory=dict)
    _stopped: set[str] = field(default_factory=set)  # asked to end, and not over
    _failed_starts: int = 0  # in a row

    def stop(self, key: str) -> None:
        """The task, which is not over, is asked to end."""
        self._stopped.add(key)

    def over(self, key: str) -> None:
        """The task is over, however it ended."""
        self._tries.pop(key, None)
        self._stopped.discard(key)

    def started(self) -> None:
        """A worker trains."""
        self._failed_starts = 0

    def not_started(self, end: str) -> None:
        """A worker ended, as `end` says, before it could train.

        Raises: SearchError where it was not the first one in a row.
        """
        self._failed_starts += 1
        if self._failed_starts == MAX_STARTS:
            raise SearchError(
                f"{MAX_STARTS} worker processes in a row ended before they could train: {end}. Their messages stand "
                "above."
            )

    def died(self, task: Task, end: str, kind: FailureKind, seconds: float) -> list[Event]:
        """The task's worker ended, as `end` says; the task waits for another one, or has failed."""
        self._tries[task.key] = self._tries.get(task.key, 0) + 1
        if self._tries[task.key] < MAX_TRIES:
            self.waiting.append(task)
            return []
        self.over(task.key)
        return [Failed(task.key, kind, f"its worker process ended {MAX_TRIES} times, the last time so: {end}", seconds)]

    def drop_stopped(self) -> list[Event]:
        """Of those that wait, the ones that were asked to end have: their worker died before it heard of it."""
        dropped = [task for task in self.waiting if task.key in self._stopped]
        for task in dropped:
            self.waiting.remove(task)
            self.over(task.key)
        return [Finished(task.key, 0.0) for task in dropped]
