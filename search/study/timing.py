"""The wall clock of a study's stages, over all its runs."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from search.study.holder import COORDINATOR, Holder, is_this_process, this_process
from search.study.record import parse_record
from search.study.records import StageName, Timing
from search.study.study import Study

NOTE_SECONDS = 5.0  # between two writes of a stage's time


class JobClock:
    """The wall clock of the whole job over all its runs, from the first step of each on."""

    def __init__(self, study: Study, began: float) -> None:
        """`began`: of this run, by time.monotonic."""
        self._study, self._began = study, began
        self._before = (study.read(Timing) or Timing()).job

    def seconds(self) -> float:
        """Return the seconds that the job has taken so far."""
        return self._before + time.monotonic() - self._began

    def note(self) -> None:
        """Write the seconds to the study."""
        with self._study.locked():
            timing = self._study.read(Timing) or Timing()
            self._study.write(timing.model_copy(update={"job": max(timing.job, self.seconds())}))


@contextmanager
def timed(study: Study, stage: StageName, clock: JobClock | None = None) -> Iterator[Callable[[], None]]:
    """Add the block's wall clock to the stage in the study's Timing; parallel blocks count once.

    The block calls the yielded function now and then, so that a kill loses little time, and other machines see that the
    run is at work. It is written with the time of the whole job, if a clock is given.
    """
    start = noted = time.monotonic()
    before = getattr(study.read(Timing) or Timing(), stage)

    def note() -> None:
        with study.locked():
            timing = study.read(Timing) or Timing()
            seconds = max(getattr(timing, stage), before + time.monotonic() - start)
            job = max(timing.job, clock.seconds()) if clock else timing.job
            study.write(timing.model_copy(update={stage: seconds, "job": job}))
        _refresh(study)

    def note_now_and_then() -> None:
        nonlocal noted
        if time.monotonic() - noted > NOTE_SECONDS:
            noted = time.monotonic()
            note()

    try:
        yield note_now_and_then
    finally:
        note()


def _refresh(study: Study) -> None:
    share = study.storage.share if study.is_stored else None
    keys = [Holder.KEY, COORDINATOR + share.owner] if share else [Holder.KEY]
    attributes = study.attributes
    for key in keys:
        holder = parse_record(attributes[key], key, Holder) if key in attributes else None
        if holder and not holder.is_over and is_this_process(holder):
            study.write(this_process(since=holder.since), key=key)
