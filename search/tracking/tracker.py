"""Tracker: a place outside the study that shows its trainings."""

from collections.abc import Iterator
from typing import Protocol

from search.tracking.facts import Facts


class Tracker(Protocol):
    """What a run sends a study's trainings to. It tells itself what it has, so that nothing is sent twice."""

    @property
    def title(self) -> str:
        """Its name for people."""
        ...

    @property
    def look(self) -> str:
        """The command that shows it, or its address, without a password."""
        ...

    def send(self, facts: Facts) -> Iterator[None]:
        """Send what of the facts it does not have yet, and yield after each training.

        A call that was broken off, wherever that was, is completed by the next.

        Raises: any error of the tracker's library.
        """
        ...
