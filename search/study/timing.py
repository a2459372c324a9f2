"""The wall clock of a study's stages, over all its runs."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from search.study.holder import COORDINATOR, is_this_process, this_process
from search.study.record import parse_record
from search.study.records import Holder, StageName, Timing
from search.study.study import Study

NOTE_SECONDS = 5.0  # between two writes of a stage's time


@contextmanager
def timed(study: Study, stage: StageName) -> Iterator[Callable[[], None]]:
    """Add the block's wall clock to the stage in the study's Timing; parallel blocks count once.

    The block calls the yielded function now and then, so that a kill loses little time, and other machines see that the
    run is at work.
    """
    start = noted = time.monotonic()
    before = getattr(study.read(Timing) or Timing(), stage)

    def note() -> None:
        with study.locked():
            timing = study.read(Timing) or Timing()
            seconds = max(getattr(timing, stage), before + time.monotonic() - start)
            study.write(timing.model_copy(update={stage: seconds}))
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
