"""The learning curve of a training: one point an epoch."""

from collections.abc import Sequence
from dataclasses import dataclass

MOST = 300  # points, of at most 180 bytes


@dataclass(frozen=True)
class CurvePoint:
    """The figures of one epoch. The validation figures are None without a validation split."""

    number: int  # of the epoch, from 1
    train_loss: float | None
    valid_loss: float | None
    macro_f1: float | None
    accuracy: float | None
    seconds: float | None  # since the training began


def thinned(points: Sequence[CurvePoint]) -> tuple[CurvePoint, ...]:
    """Return the curve with at most MOST points: every second one, or every third and so on, and always the last."""
    apart = -(-len(points) // MOST)
    return tuple(points[::-1][::apart][::-1]) if points else ()
