"""When a search gives up: too many trials in a row failed, or were over a limit."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from search.executors import Failed, FailureKind

MOST_FAILURES = 10  # in a row
MOST_REFUSED = 100  # in a row; they cost next to nothing
FAILURE_WORDS: Final[dict[FailureKind, str]] = {
    "diverged": "diverged",
    "memory": "ran out of memory",
    "error": "ended with an error",
}


@dataclass
class Failures:
    """The trials that failed or were refused since one that was not; `given_up` is set when they are too many."""

    given_up: str | None = None
    _failed: list[Failed] = field(default_factory=list)
    _refused: int = 0

    def none_failed(self) -> None:
        """A trial was trained to its end, pruned or paused."""
        self._failed.clear()

    def none_refused(self) -> None:
        """A trial was within the limits."""
        self._refused = 0

    def refused(self, reason: str) -> None:
        """A trial was over a limit."""
        self._refused += 1
        if self._refused == MOST_REFUSED:
            self.given_up = f"{MOST_REFUSED} proposed networks in a row were over a limit. The last one: {reason}. "
            self.given_up += "Raise the limit, or narrow the knobs that make networks large."

    def failed(self, event: Failed) -> None:
        """A trial failed."""
        self._failed.append(event)
        if len(self._failed) < MOST_FAILURES:
            return
        kinds = Counter(failed.kind for failed in self._failed).most_common()
        (reason, times), *_ = Counter(failed.reason for failed in self._failed).most_common()
        self.given_up = (
            f"{MOST_FAILURES} trials in a row failed: "
            f"{', '.join(f'{count} {FAILURE_WORDS[kind]}' for kind, count in kinds)}. "
            f"{f'Most often ({times} times): {reason}' if times > 1 else f'The last one: {event.reason}'}. "
            "Narrow the knobs, or remove the cause; the same command resumes the study."
        )
