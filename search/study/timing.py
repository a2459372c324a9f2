"""How long the stages of a study took, over all its runs."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from search.study.holder import COORDINATOR, is_mine, mine
from search.study.records import Holder, StageName, Timing, parse_record
from search.study.study import Study

NOTE_SECONDS = 5.0  # between two notes of a stage's time


@contextmanager
def timed(study: Study, stage: StageName) -> Iterator[Callable[[], None]]:
    """The stage's wall clock in the study's Timing has grown by what the block took, however it ended; blocks side by
    side count once.

    The block calls what it is given now and then, so that little is lost to a kill, and other machines see that the run
    is at work.
    """
    start = noted = time.monotonic()
    before = getattr(study.read(Timing) or Timing(), stage)

    def note() -> None:
        with study.alone():
            timing = study.read(Timing) or Timing()
            seconds = max(getattr(timing, stage), before + time.monotonic() - start)
            study.write(timing.model_copy(update={stage: seconds}))
        _show_up(study)

    def note_now_and_then() -> None:
        nonlocal noted
        if time.monotonic() - noted > NOTE_SECONDS:
            noted = time.monotonic()
            note()

    try:
        yield note_now_and_then
    finally:
        note()


def _show_up(study: Study) -> None:
    share = study.storage.share if study.is_stored else None
    keys = [Holder.KEY, COORDINATOR + share.owner] if share else [Holder.KEY]
    attributes = study.attributes
    for key in keys:
        holder = parse_record(attributes[key], key, Holder) if key in attributes else None
        if holder and not holder.is_over and is_mine(holder):
            study.write(mine(since=holder.since), key=key)
