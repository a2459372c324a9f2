"""The learning curve of a training: one point an epoch."""

from dataclasses import dataclass


@dataclass(frozen=True)
class CurvePoint:
    """The figures of one epoch. The validation figures are None without a validation split."""

    number: int  # of the epoch, from 1
    train_loss: float | None
    valid_loss: float | None
    macro_f1: float | None
    accuracy: float | None
    seconds: float | None  # since the training began
