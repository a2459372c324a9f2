"""Sender: a thread that sends a study's facts to a tracker, so that no tracker is ever in the way of a trial."""

import math
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from threading import Condition, Thread

from search.errors import SearchError
from search.storage.masking import masked
from search.tracking.facts import Facts
from search.tracking.tracker import Tracker

RETRY_SECONDS = 60.0  # after a failure, in which the tracker is left alone
SILENT_SECONDS = 2.0  # of the wait at the end, before it is announced
PATIENT_SECONDS = 60.0  # without anything sent, after which the end of the job no longer waits
HASTY_SECONDS = 1.0  # of all that wait where the job did not come to its end
LONGEST = 300  # characters of an error's text


@dataclass(frozen=True)
class Told:
    """A sentence for the person who watches."""

    text: str
    is_alarm: bool = False


class Sender:
    """Holds the newest facts only: what a tracker missed is in them. It raises nothing, and waits only in `close`."""

    def __init__(self, tracker: Tracker) -> None:
        self._tracker = tracker
        self._told: deque[Told] = deque()
        self._changed = Condition()
        # What follows is read and written with `_changed` held.
        self._facts: Facts | None = None  # the newest that are not sent in full
        self._sent = 0
        self._retry_at = -math.inf
        self._is_failing = self._is_closing = self._is_abandoned = self._is_over = False
        Thread(target=self._work, name=f"sender to {tracker.title}", daemon=True).start()

    def offer(self, facts: Facts) -> None:
        """Send the facts, in place of older ones that still wait."""
        with self._changed:
            self._facts = facts
            self._changed.notify_all()

    def told(self) -> list[Told]:
        """Return what is to be said since the last call: that the tracker fails, and that it works again."""
        return [self._told.popleft() for _ in range(len(self._told))]

    def close(self, announce: Callable[[str], None], *, is_patient: bool) -> bool:
        """Wait for what is not sent, as long as something is sent now and then, and return whether all of it is.

        A tracker that failed is tried once more. What it then lacks, the next run sends.
        """
        with self._changed:
            self._is_closing = True
            self._changed.notify_all()
            try:
                if is_patient and not self._changed.wait_for(self._ended, SILENT_SECONDS):
                    announce(f"Waiting for {self._tracker.title}. Ctrl-C ends the wait; the next run sends the rest.")
                before = -1
                while is_patient and before != self._sent and not self._is_over:
                    before = self._sent
                    self._changed.wait_for(self._ended, PATIENT_SECONDS)
                if not is_patient:
                    self._changed.wait_for(self._ended, HASTY_SECONDS)
            except KeyboardInterrupt:
                if not is_patient:
                    raise
            self._is_abandoned = True
            return self._is_over and not self._is_failing

    def _ended(self) -> bool:
        return self._is_over

    def _work(self) -> None:
        while (facts := self._next()) is not None:
            try:
                for _ in self._tracker.send(facts):
                    if self._count():
                        break
            except Exception as error:  # whatever the tracker's library raises: the job goes on
                self._note_failure(facts, error)
            else:
                self._note_success()
        with self._changed:
            self._is_over = True
            self._changed.notify_all()

    def _next(self) -> Facts | None:
        """Return the facts to send; None at the end."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._is_closing or (self._facts is not None and time.monotonic() >= self._retry_at)
            )
            facts, self._facts = self._facts, None
            return None if self._is_abandoned else facts

    def _count(self) -> bool:
        """Count what was sent, and return whether nobody waits for more."""
        with self._changed:
            self._sent += 1
            return self._is_abandoned

    def _note_failure(self, facts: Facts, error: Exception) -> None:
        with self._changed:
            if not self._is_closing:
                self._facts = self._facts or facts
            self._retry_at = time.monotonic() + RETRY_SECONDS
            if not self._is_failing:
                text = (
                    f"{self._tracker.title} does not take the trainings: {_reason(error)}. The job goes on without it."
                )
                self._told.append(Told(text, is_alarm=True))
            self._is_failing = True

    def _note_success(self) -> None:
        with self._changed:
            if self._is_failing:
                self._told.append(Told(f"{self._tracker.title} takes the trainings again; none is lost."))
            self._is_failing = False


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        text = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    elif isinstance(error, SearchError):
        text = str(error)
    else:
        text = f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}"
    return masked(text)[:LONGEST].rstrip(". ")
