"""Search ranges of the fields of TrialConfig, declared as annotations of the fields."""

import math
from dataclasses import dataclass

Scalar = bool | int | float | str


@dataclass(frozen=True, slots=True)
class Range:
    """The numbers from `low` to `high`, both inclusive; optionally on a logarithmic scale or in steps."""

    low: int | float
    high: int | float
    log: bool = False
    step: int | float | None = None


@dataclass(frozen=True, slots=True)
class Choice:
    """One of `options`, without an order."""

    options: tuple[Scalar, ...]


@dataclass(frozen=True, slots=True)
class Bounds:
    """The numbers that a field may have; `has_low` and `has_high` say whether the ends are among them."""

    low: float = -math.inf
    high: float = math.inf
    has_low: bool = True
    has_high: bool = True


Knob = Range | Choice
