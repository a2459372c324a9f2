"""What is white in the files of a data set: as the study states, else 255, and 65,535 in pictures of 16 bits; one for
all images.
"""

import math
from collections.abc import Sequence
from typing import Annotated, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from fmnist.errors import FmnistError

White = Annotated[float, Field(ge=1e-6, le=1e12, allow_inf_nan=False)]
BYTE, DEEP = 255.0, 65535.0
ANY = math.inf  # the largest value that a float can have, or a number in a text
_FAR_TOO_DARK = {
    BYTE: 0.1,
    DEEP: 0.25,
}  # share of white that the largest value must exceed; below a quarter, 14 bits are likelier than 16
_USUAL = (255, 1023, 4095, 16383, 65535)
_STATE = "[cleaning] white = {:g} in the study's TOML"


class Extent(NamedTuple):
    """The smallest and the largest value of all images that have the same white and type.

    `most` is the largest value that the type holds; `is_stated` is true where the study states white, false where the
    type tells it.
    """

    white: float
    low: float
    high: float
    most: float
    is_stated: bool

    @property
    def is_outside(self) -> bool:
        """Whether there are values that are no greys."""
        return self.low < 0 or self.high > self.white

    @property
    def is_beyond(self) -> bool:
        """Whether no value of that type could be white."""
        return self.white > self.most

    @property
    def is_far_too_dark(self) -> bool:
        """Whether the largest value is so small that white is another, most likely; all black is not."""
        return not self.is_stated and 0 < self.high <= self.white * _FAR_TOO_DARK[self.white]

    def __str__(self) -> str:
        return f"from {self.low:,.6g} to {self.high:,.6g}"


class Scale:
    """Brings the values of pictures to greys from 0 to 255, and remembers which there were."""

    def __init__(self, stated: float | None = None) -> None:
        self.stated = stated
        self._extents: dict[tuple[float, float], Extent] = {}

    @property
    def extents(self) -> tuple[Extent, ...]:
        """What was found so far, for each white and kind of values."""
        return tuple(self._extents.values())

    @property
    def whites(self) -> tuple[float, ...]:
        """That values were compared with."""
        return tuple(sorted({white for white, _ in self._extents}))

    def greys(self, values: NDArray[np.generic], white: float) -> NDArray[np.uint8]:
        """The values with 255 for white, which is `white` where the study states none; what lies outside is cut off,
        and remembered.
        """
        extent = extent_of(values, self.stated or white, is_stated=self.stated is not None)
        self._extents[extent.white, extent.most] = merged(
            extent, self._extents.get((extent.white, extent.most), extent)
        )
        return to_greys(values, extent.white)


def extent_of(values: NDArray[np.generic], white: float, *, is_stated: bool = False) -> Extent:
    """Of these values, with that white."""
    most = float(np.iinfo(str(values.dtype.name)).max) if values.dtype.kind in "ui" else ANY
    return Extent(white, float(values.min()), float(values.max()), most, is_stated)  # type: ignore[attr-defined]


def merged(one: Extent, other: Extent) -> Extent:
    """Of the values of both, which have the same white and type."""
    return one._replace(low=min(one.low, other.low), high=max(one.high, other.high))


def stated(white: float | None) -> tuple[Extent, ...]:
    """The extent of numbers in a text, which were all compared with what the study states."""
    return (Extent(white, 0, white, ANY, is_stated=True),) if white else ()


def to_greys(values: NDArray[np.generic], white: float) -> NDArray[np.uint8]:
    """The values with 255 for `white` and 0 for 0, cut off on either side."""
    if white == BYTE and values.dtype == np.uint8:
        return values.astype(np.uint8, copy=False)
    if (
        values.dtype.kind == "u" and values.dtype.itemsize <= 2
    ):  # each value once: many pixels of several bytes would fill the memory
        return np.asarray(_greys(np.arange(np.iinfo(str(values.dtype.name)).max + 1), white)[values])
    return _greys(values, white)


def _greys(values: NDArray[np.generic], white: float) -> NDArray[np.uint8]:
    return np.asarray((values.astype(np.float64).clip(0, white) * (BYTE / white)).round().astype(np.uint8))


def require_scale(extents: Sequence[Extent], where: str) -> None:
    """No value is outside what black and white allow and, unless the study states what is white, the images are not far
    too dark.

    Raises: FmnistError with the values found.
    """
    for extent in extents:
        white = f"{extent.white:,g}"
        if extent.is_outside:
            rule = (
                f"cleaning.white is {white}"
                if extent.is_stated
                else f"white is {white} unless the study says otherwise"
            )
            raise FmnistError(
                f"{where}: pixels must be from 0 to white, and {rule}; got pixels {extent}. {_advice(extent)}"
            )
        if extent.is_beyond:
            raise FmnistError(
                f"{where}: cleaning.white is {white}, and the largest value of {extent.most:,g} that some images can "
                "hold would be far too "
                "dark. Save all images with the same number of bits, or leave white out."
            )
        if extent.is_far_too_dark:
            raise FmnistError(
                f"{where}: all pixels are {extent}, and white is {white} unless the study says otherwise: that is far "
                "too dark. "
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
