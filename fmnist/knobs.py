"""Search ranges of the fields of TrialConfig, declared as annotations of the fields."""

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


Knob = Range | Choice
