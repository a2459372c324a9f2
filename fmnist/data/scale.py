"""What is white in the files of a data set: as the study states, else 255, and 65,535 in pictures of 16 bits; one for all images."""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fmnist.errors import FmnistError

BYTE, DEEP = 255.0, 65535.0
_FAR_TOO_DARK = {BYTE: 0.1, DEEP: 0.25}  # share of white that the largest value must exceed; below a quarter, 14 bits are likelier than 16
_USUAL = (255, 1023, 4095, 16383, 65535)
_STATE = "[cleaning] white = {:g} in the study's TOML"


class Extent(NamedTuple):
    """The smallest and the largest value of all images that have the same white."""

    white: float
    low: float
    high: float

    @property
    def is_outside(self) -> bool:
        """Whether there are values that are no greys."""
        return self.low < 0 or self.high > self.white

    @property
    def is_far_too_dark(self) -> bool:
        """Whether the largest value is so small that white is another, most likely; all black is not."""
        return 0 < self.high <= self.white * _FAR_TOO_DARK[self.white]

    def __str__(self) -> str:
        return f"from {self.low:,.6g} to {self.high:,.6g}"


class Scale:
    """Brings the values of pictures to greys from 0 to 255, and remembers which there were."""

    def __init__(self, stated: float | None = None) -> None:
        self._stated = stated
        self._extents: dict[float, Extent] = {}

    @property
    def extents(self) -> tuple[Extent, ...]:
        """What was found so far, for each white."""
        return tuple(self._extents.values())

    @property
    def whites(self) -> tuple[float, ...]:
        """That values were compared with."""
        return tuple(sorted(self._extents))

    def greys(self, values: NDArray[np.generic], white: float) -> NDArray[np.uint8]:
        """The values with 255 for white, which is `white` where the study states none; what lies outside is cut off, and remembered."""
        white = self._stated or white
        extent = Extent(white, float(values.min()), float(values.max()))  # type: ignore[attr-defined]
        before = self._extents.get(white, extent)
        self._extents[white] = Extent(white, min(before.low, extent.low), max(before.high, extent.high))
        return to_greys(values, white)


def stated(white: float | None) -> tuple[Extent, ...]:
    """The extent of values that were all compared with what the study states."""
    return (Extent(white, 0, white),) if white else ()


def to_greys(values: NDArray[np.generic], white: float) -> NDArray[np.uint8]:
    """The values with 255 for `white` and 0 for 0, cut off on either side."""
    if white == BYTE and values.dtype == np.uint8:
        return values.astype(np.uint8, copy=False)
    return np.asarray((values.astype(np.float64).clip(0, white) * (BYTE / white)).round().astype(np.uint8))


def require_scale(extents: tuple[Extent, ...], stated: float | None, where: str) -> None:
    """No value is outside what black and white allow and, unless the study states what is white, the images are not far too dark.

    Raises: FmnistError with the values found.
    """
    for extent in extents:
        white = f"{extent.white:,g}"
        if extent.is_outside:
            rule = f"cleaning.white is {white}" if stated else f"white is {white} unless the study says otherwise"
            raise FmnistError(f"{where}: pixels must be from 0 to white, and {rule}; got pixels {extent}. {_advice(extent)}")
        if not stated and extent.is_far_too_dark:
            raise FmnistError(
                f"{where}: all pixels are {extent}, and white is {white} unless the study says otherwise: that is far too dark. "
                f"{_advice(extent)} If they are to be as dark as that: white = {extent.white:g}."
            )


def _advice(extent: Extent) -> str:
    if extent.low < 0:
        return "Save them again without negative values."
    return f"State what is white, such as {_STATE.format(likely_white(extent.high))}."


def likely_white(high: float) -> float:
    """What is white, most likely, where `high` is the largest value."""
    if high <= BYTE * _FAR_TOO_DARK[BYTE]:
        return max(1, math.ceil(high))
    return next((usual for usual in _USUAL if high <= usual), high)


def how_to_state(low: float, high: float) -> str:
    """The next step where values from `low` to `high` are no whole numbers from 0 to 255."""
    return f"Or state what is white: {_STATE.format(likely_white(high))}." if low >= 0 and math.isfinite(high) else ""
