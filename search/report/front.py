"""The front of a search against costs, as a part of the report."""

from search.study.front import Front, FrontStep, point_folder, read_front
from search.study.record import Record
from search.study.records import Dropped
from search.study.study import Study


class PointOfFront(Record):
    """A tested network of a search against costs."""

    trial: int
    costs: dict[str, float]  # by the names under `against`
    parameters: int
    flops: int
    validation: float  # mean macro F1 on fresh seeds, or that of the search with none
    seeds: int  # of the final trainings
    mean: float  # test macro F1
    sd: float | None
    low: float
    high: float
    step: FrontStep | None  # its difference from the next cheaper point; None for the cheapest
    is_winner: bool
    folder: str  # of its models, relative to the study's


def points_of_front(study: Study) -> tuple[PointOfFront, ...]:
    """Return the tested points of the study's front, the cheapest first; none without one."""
    front = study.read(Front)
    return tuple(
        PointOfFront(
            trial=point.trial,
            costs=dict(zip(front.against, point.costs, strict=True)) if front else {},
            parameters=point.final.parameters,
            flops=point.final.flops,
            validation=point.validation,
            seeds=len(point.final.runs),
            mean=point.final.mean,
            sd=point.final.sd,
            low=point.final.low,
            high=point.final.high,
            step=point.step,
            is_winner=point.is_winner,
            folder="." if point.is_winner else point_folder(study, point.trial).relative_to(study.folder).as_posix(),
        )
        for point in read_front(study)
    )


def diverged_points(study: Study) -> tuple[Dropped, ...]:
    """Return the points that diverged in the final stage, so that they have no result."""
    front = study.read(Front)
    return () if front is None else front.diverged
