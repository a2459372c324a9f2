"""A search against costs: its model of latency, and the points of its front, each with its own result and folder.

No torch.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from search.study.record import Record, parse_record
from search.study.records import Confirmation, Dropped, Final
from search.study.study import Study
from search.terminal.wording import counted

POINTS = "points"  # folder of the points within the study's


class FrontStep(Record):
    """The test macro F1 of a point minus that of the next one that costs no more, on the same images."""

    trial: int
    cheaper: int
    difference: float
    low: float  # paired bootstrap interval, of the same level and resamples as the final's
    high: float


class Front(Record):
    """The result of a search against costs: its points were retrained, and tested when the test split was opened for
    the Final, which is the point of the winner.

    The Final of each other point is stored under `point_key(trial)`.
    """

    KEY = "front"
    against: tuple[str, ...]
    points: tuple[int, ...]  # trials, the cheapest first
    costs: tuple[tuple[float, ...], ...]  # of each point
    steps: tuple[FrontStep, ...] = ()
    diverged: tuple[Dropped, ...] = ()  # points without a result


class LatencyModel(Record):
    """The latency of any network of a space, on the device on which some of them were measured when a search against it
    began. Like the other costs it is known before a network is trained, and stays what it is.

    Args:
        milliseconds: Of one image, for each of the `latency_parts` of search.study.costs.
        error: Median relative error for a measured network that the model was not fitted to; None with a single one.
    """

    KEY = "latency_model"
    milliseconds: tuple[float, ...]
    error: float | None
    networks: int
    device: str
    threads: int

    @property
    def place(self) -> str:
        """Where it was measured, in words."""
        return f"{self.device} with {counted(self.threads, 'thread')}"


@dataclass(frozen=True)
class FrontPoint:
    """A tested point of a front.

    Args:
        trial: Its trial.
        costs: In the order of the front's `against`.
        validation: Mean macro F1 on fresh seeds of the confirm stage, or else that of the search.
        final: Its result on the test split.
        step: How it differs from the next cheaper point; None for the cheapest.
        is_winner: Whether it is the study's result.
    """

    trial: int
    costs: tuple[float, ...]
    validation: float
    final: Final
    step: FrontStep | None
    is_winner: bool


def dominates(f1: float, costs: Sequence[float], other_f1: float, other_costs: Sequence[float]) -> bool:
    """Whether a network that is no worse and costs no more than another one is better or cheaper."""
    is_no_worse = f1 >= other_f1 and all(cost <= other for cost, other in zip(costs, other_costs, strict=True))
    return is_no_worse and (f1 > other_f1 or tuple(costs) != tuple(other_costs))


def point_folder(study: Study, trial: int) -> Path:
    """Return the folder of a point's files, which is like that of a study; the winner's files are in the study's."""
    return study.folder / POINTS / f"trial-{trial}"


def point_key(trial: int) -> str:
    """Return the study's attribute that holds the Final of a point."""
    return f"point_{trial}"


def read_front(study: Study) -> tuple[FrontPoint, ...]:
    """Return the tested points of the study, the cheapest first; none if it has no result, or was against no cost.

    Raises: SearchError if this version cannot read a record.
    """
    front, final, confirmation = study.read(Front), study.read(Final), study.read(Confirmation)
    if front is None or final is None or confirmation is None:
        return ()
    candidates = {candidate.trial: candidate for candidate in confirmation.candidates}
    steps = {step.trial: step for step in front.steps}
    points = []
    for trial, costs in zip(front.points, front.costs, strict=True):
        candidate, is_winner = candidates[trial], trial == final.trial
        own = final if is_winner else parse_record(study.attributes[point_key(trial)], point_key(trial), Final)
        validation = candidate.mean if candidate.runs else candidate.search_value
        points.append(FrontPoint(trial, costs, validation, own, steps.get(trial), is_winner))
    return tuple(points)
