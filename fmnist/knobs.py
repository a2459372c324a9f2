"""What a field of TrialConfig may be in a search: declared once, beside the field, as frozen data."""

from dataclasses import dataclass

Scalar = bool | int | float | str


@dataclass(frozen=True, slots=True)
class Range:
    """Every number from `low` to `high`, both included; on a logarithmic scale, or in steps, where said."""

    low: int | float
    high: int | float
    log: bool = False
    step: int | float | None = None


@dataclass(frozen=True, slots=True)
class Choice:
    """One of `options`, without an order between them."""

    options: tuple[Scalar, ...]


Knob = Range | Choice
