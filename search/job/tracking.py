"""Tracking of a run: whenever a training ends, what the study has stored is handed to the senders of its trackers."""

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from search.errors import AnotherRunError
from search.job.progress.base import Progress
from search.job.progress.tally import Best, EndState, Outlook, Step
from search.study.ownership import identity_of
from search.study.records import StageName
from search.study.study import Study
from search.tracking.facts import read_facts
from search.tracking.sender import Sender
from search.tracking.tracker import Tracker

APART_SECONDS = 1.0  # at least, between two readings of the study: thousands of trials may be refused in a moment


@contextmanager
def tracked(study: Study, trackers: Sequence[Tracker], progress: Progress, *, is_shared: bool) -> Iterator[Progress]:
    """Yield a progress that shows what `progress` shows, and tracks the study; after the block all of it is sent.

    Args:
        is_shared: Other runs may have trials of the study.
    """
    if not trackers:
        yield progress
        return
    watched = _Tracked(study, trackers, progress, is_shared)
    try:
        watched.hand_over()  # what earlier runs have trained
        yield watched
        watched.hand_over(is_over=True)
    except AnotherRunError:
        watched.close(is_patient=True)
        raise
    except BaseException:
        watched.close(is_patient=False)
        raise
    watched.close(is_patient=True)


class _Tracked(Progress):
    """Passes all on, and hands the facts over at the end of each training."""

    def __init__(self, study: Study, trackers: Sequence[Tracker], shown: Progress, is_shared: bool) -> None:
        self._study, self._shown, self._is_shared = study, shown, is_shared
        self._id = identity_of(study).id or ""
        self._handed_over, self._is_due = -math.inf, False
        self._senders = [(tracker, Sender(tracker)) for tracker in trackers]

    def hand_over(self, *, is_over: bool = False) -> None:
        """Offer what the study has stored to all senders."""
        self._handed_over, self._is_due = time.monotonic(), False
        facts = read_facts(self._study, self._id, is_over=is_over, is_shared=self._is_shared)
        for _, sender in self._senders:
            sender.offer(facts)

    def close(self, *, is_patient: bool) -> None:
        """End the senders, and say where all can be seen, or that something is missing."""
        for tracker, sender in self._senders:
            is_complete = sender.close(self._shown.message, is_patient=is_patient)
            self._pass_on()
            if not is_complete:
                rest = f"{tracker.title} lacks trainings of this study. Run the same command again to send them."
                self._shown.message(rest, is_alarm=True)
            elif is_patient:
                self._shown.message(f"{tracker.title} has all trainings: {tracker.look}")

    def _look_after(self) -> None:
        """Hand over what has ended, and say what the senders have to say."""
        if self._is_due and time.monotonic() - self._handed_over >= APART_SECONDS:
            self.hand_over()
        self._pass_on()

    def _pass_on(self) -> None:
        # Here, not in their threads: what is shown is not made for several.
        for _, sender in self._senders:
            for told in sender.told():
                self._shown.message(told.text, is_alarm=told.is_alarm)

    def expect(self, outlook: Outlook) -> None:
        """Pass it on."""
        self._shown.expect(outlook)

    def step(self, step: Step) -> None:
        """Pass it on."""
        self._shown.step(step)

    def begin(
        self, stage: StageName, *, total: int, done: int, best: Best | None = None, seconds: float = math.inf
    ) -> None:
        """Pass it on."""
        self._shown.begin(stage, total=total, done=done, best=best, seconds=seconds)

    def started(self, label: str, epochs: int) -> None:
        """Pass it on."""
        self._shown.started(label, epochs)

    def epoch(self, label: str, number: int, macro_f1: float | None, images_per_second: float) -> None:
        """Pass it on."""
        self._shown.epoch(label, number, macro_f1, images_per_second)
        self._look_after()

    def ended(
        self, label: str, state: EndState, value: float | None, reason: str | None, knobs: Mapping[str, object]
    ) -> None:
        """Pass it on; the study has stored all of it."""
        self._shown.ended(label, state, value, reason, knobs)
        self._is_due = True
        self._look_after()

    def elsewhere(self, count: int, best: Best | None) -> None:
        """Pass it on."""
        self._shown.elsewhere(count, best)

    def end(self) -> None:
        """Pass it on."""
        self._shown.end()

    def message(self, text: str, *, is_alarm: bool = False) -> None:
        """Pass it on."""
        self._shown.message(text, is_alarm=is_alarm)
