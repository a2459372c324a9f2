"""The end of a search's minutes."""

import math
import time

from search.study.budget import needs_a_result, seconds_left
from search.study.spec import StudySpec
from search.study.study import Study


class Deadline:
    """When the minutes of a search are up; never, if it has no limit of minutes.

    A job whose minutes are those of the whole must have a result: without a complete trial its search goes on, in
    overtime, until one is complete.
    """

    def __init__(self, study: Study, spec: StudySpec) -> None:
        self._study, self._spec = study, spec
        self._at = time.monotonic() + seconds_left(study, spec)

    @property
    def is_over(self) -> bool:
        """Whether the minutes are up, and there is no overtime."""
        return time.monotonic() > self._at and not self.is_overtime

    @property
    def is_overtime(self) -> bool:
        """Whether the minutes are up with no complete trial, in a job that must have a result."""
        return time.monotonic() > self._at and needs_a_result(self._study, self._spec)

    @property
    def seconds_left(self) -> float:
        """The seconds in which trials can be completed."""
        return math.inf if self.is_overtime else self._at - time.monotonic()
