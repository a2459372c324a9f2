"""How long a job takes, as a range: from the smaller to the larger networks of its space.

The search trains many networks, so its range is from the quarter that is fast to the quarter that is slow. Confirm and
final stage, test and export follow its best networks, and these may be of any size: their range leaves out the
tenth that is fastest and the tenth that is slowest.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from search.job.estimate import Costs
from search.job.minutes import around
from search.study.records import DataRecord
from search.study.spec import StudySpec
from search.terminal.wording import duration

SEARCHED = (0.25, 0.75)  # quantiles of the networks of the space, by their time
WINNING = (0.10, 0.90)
NARROW = 1.1  # of the high end to the low one: measuring the speed is not more exact


@dataclass(frozen=True)
class Span:
    """Seconds of wall clock, from `low` to `high`."""

    low: float
    high: float

    def __add__(self, other: "Span") -> "Span":
        return Span(self.low + other.low, self.high + other.high)

    def __str__(self) -> str:
        """ "1 h 05 min to 2 h 20 min", or "about 1 h 05 min" if both ends are almost the same."""
        low, high = duration(self.low), duration(self.high)
        if low == high or self.high <= NARROW * self.low:
            return f"about {duration((self.low + self.high) / 2)}"
        return f"{low} to {high}"


@dataclass(frozen=True)
class JobRange:
    """What each part of a job takes; the search without pruning, `rest` being its start, test, report and export."""

    search: Span
    confirm: Span
    final: Span
    rest: Span

    @property
    def total(self) -> Span:
        """What all of it takes."""
        return self.search + self.confirm + self.final + self.rest


def range_of(spec: StudySpec, costs: Costs, data: DataRecord) -> JobRange:
    """Return what the job takes, from the costs of the networks that represent its space."""
    each = [one.estimate(spec) for one in costs.networks]
    return JobRange(
        search=_span((one.search for one in each), SEARCHED),
        confirm=_span((one.confirm for one in each), WINNING),
        final=_span((one.final for one in each), WINNING),
        rest=_span((around(spec, one, data) for one in costs.networks), WINNING),
    )


def _span(seconds: Iterable[float], quantiles: tuple[float, float]) -> Span:
    low, high = np.quantile(list(seconds), quantiles)
    return Span(float(low), float(high))
