"""How often a task is tried, and how long a worker may say nothing. The same wherever workers are."""

import time
from dataclasses import dataclass, field

MAX_TRIES = 3  # of a task whose worker dies under it, or hangs
MAX_STARTS = 3  # of workers in a row that end before they could train
# A worker hangs that is silent for so much longer than its task's slowest epoch; before there is an epoch, than the slowest of any task.
SLOWER = 10
SILENCE = 60.0  # seconds on top of that
FIRST_SILENCE = 600.0  # seconds for the first epoch, on top; and for a worker's start


@dataclass
class Silence:
    """Of one worker: since when, and how long it may last."""

    slowest_of_all: list[float]  # seconds of the slowest epoch of any task; the one figure in it is shared by all workers
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
