"""The learning curves of the trainings after the search; that of a trial is with the trial."""

from collections.abc import Mapping, Sequence
from typing import Any

from fmnist.curve import CurvePoint, thinned
from search.study.environment import now
from search.study.record import Record, parse_record
from search.study.records import StageName
from search.study.study import Study


class Curve(Record):
    """A completed training of the confirm, final or ablate stage."""

    stage: StageName
    ended: str  # UTC, ISO 8601
    points: tuple[CurvePoint, ...]


def note_curve(study: Study, stage: StageName, training: str, points: Sequence[CurvePoint]) -> None:
    """Write the curve of the training, such as "trial 3, seed 1001", in place of an earlier one of that name.

    Of a long training it has every second point, or every third one and so on; always the last.
    """
    # An attribute for each: MySQL holds 64 kB in one, which is the curves of a few hundred epochs.
    study.write(Curve(stage=stage, ended=now(), points=thinned(points)), key=_key(training))


def curve_in(attributes: Mapping[str, Any], training: str) -> Curve | None:
    """Return the curve of the training from a study's attributes; None where an earlier version trained it.

    Raises: SearchError if this version cannot read it.
    """
    key = _key(training)
    return parse_record(attributes[key], key, Curve) if key in attributes else None


def _key(training: str) -> str:
    return f"curve: {training}"
