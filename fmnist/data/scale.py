"""The value of white in the files of a data set, the same for all images.

It is the white that the study states, else 255, or 65,535 in 16-bit pictures.
"""

import math
from collections.abc import Sequence
from typing import Annotated, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from fmnist.errors import FmnistError

White = Annotated[float, Field(ge=1e-6, le=1e12, allow_inf_nan=False)]
BYTE, DEEP = 255.0, 65535.0  # white in 8 and in 16 bits
UNBOUNDED = math.inf  # the largest value of a float, or of a number in a text
# The share of white that the largest value must exceed; below a quarter, 14 bits are likelier than 16.
_FAR_TOO_DARK = {BYTE: 0.1, DEEP: 0.25}
_USUAL = (255, 1023, 4095, 16383, 65535)
_STATE = "[cleaning] white = {:g} in the study's TOML"


class Extent(NamedTuple):
    """The smallest and the largest value of all images of the same white and type.

    `most` is the largest value that the type can hold. `is_stated` is true if the study states white, false if it
    follows from the type.
    """

    white: float
    low: float
    high: float
    most: float
    is_stated: bool

    @property
    def is_outside(self) -> bool:
        """Return whether some values are below black or above white."""
        return self.low < 0 or self.high > self.white

    @property
    def cannot_hold_white(self) -> bool:
        """Return whether white is larger than any value of the type."""
        return self.white > self.most

    @property
    def is_far_too_dark(self) -> bool:
        """Return whether the largest value is so small that white is probably wrong; only black is not."""
        return not self.is_stated and 0 < self.high <= self.white * _FAR_TOO_DARK[self.white]

    def __str__(self) -> str:
        return f"from {self.low:,.6g} to {self.high:,.6g}"


class Scale:
    """Scale the values of pictures to greys from 0 to 255, and record their extents."""

    def __init__(self, stated: float | None = None) -> None:
        self.stated = stated
        self._extents: dict[tuple[float, float], Extent] = {}

    @property
    def extents(self) -> tuple[Extent, ...]:
        """Return the extents so far, one for each white and type."""
        return tuple(self._extents.values())

    @property
    def whites(self) -> tuple[float, ...]:
        """Return the values of white used so far."""
        return tuple(sorted({white for white, _ in self._extents}))

    def greys(self, values: NDArray[np.generic], white: float) -> NDArray[np.uint8]:
        """Return the values scaled so that white is 255, clipped; `white` applies if the study states none."""
        extent = extent_of(values, self.stated or white, is_stated=self.stated is not None)
        self._extents[extent.white, extent.most] = merge(extent, self._extents.get((extent.white, extent.most), extent))
        return to_greys(values, extent.white)


def extent_of(values: NDArray[np.generic], white: float, *, is_stated: bool = False) -> Extent:
    """Return the extent of these values with that white."""
    most = float(np.iinfo(str(values.dtype.name)).max) if values.dtype.kind in "ui" else UNBOUNDED
    return Extent(white, float(values.min()), float(values.max()), most, is_stated)  # type: ignore[attr-defined]


def merge(first: Extent, second: Extent) -> Extent:
    """Return the extent of the values of both, which must have the same white and type."""
    return first._replace(low=min(first.low, second.low), high=max(first.high, second.high))


def stated_extents(white: float | None) -> tuple[Extent, ...]:
    """Return the extent of numbers in a text, which the reader has compared with the white that the study states."""
    return (Extent(white, 0, white, UNBOUNDED, is_stated=True),) if white else ()


def to_greys(values: NDArray[np.generic], white: float) -> NDArray[np.uint8]:
    """Return the values scaled so that `white` is 255, clipped to 0 .. 255."""
    if white == BYTE and values.dtype == np.uint8:
        return values.astype(np.uint8, copy=False)
    if values.dtype.kind == "u" and values.dtype.itemsize <= 2:
        # A lookup table takes far less memory than all pixels as floats.
        return np.asarray(_greys(np.arange(np.iinfo(str(values.dtype.name)).max + 1), white)[values])
    return _greys(values, white)


def _greys(values: NDArray[np.generic], white: float) -> NDArray[np.uint8]:
    return np.asarray((values.astype(np.float64).clip(0, white) * (BYTE / white)).round().astype(np.uint8))


def require_scale(extents: Sequence[Extent], where: str) -> None:
    """Check that values are between black and white and that, unless white is stated, images are not far too dark.

    Raises: FmnistError with the range of the values.
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
        if extent.cannot_hold_white:
            raise FmnistError(
                f"{where}: all images must be able to hold cleaning.white, {white}; some cannot hold more than "
                f"{extent.most:,g}. Save all images with the same number of bits, or remove cleaning.white."
            )
        if extent.is_far_too_dark:
            raise FmnistError(
                f"{where}: all pixels are {extent}, and white is {white} unless the study says otherwise: that is far "
                f"too dark. {_advice(extent)} If the images are meant to be that dark: white = {extent.white:g}."
            )


def _advice(extent: Extent) -> str:
    if extent.low < 0:
        return "Save them again without negative values."
    return f"Set the value of white, such as {_STATE.format(likely_white(extent.high))}."


def likely_white(high: float) -> float:
    """Return the most likely value of white for `high` as the largest value."""
    if high <= BYTE * _FAR_TOO_DARK[BYTE]:
        return max(1, math.ceil(high))
    return next((usual for usual in _USUAL if high <= usual), high)


def how_to_state(low: float, high: float) -> str:
    """Return the hint how to set white if values from `low` to `high` are not whole numbers from 0 to 255."""
    return (
        f"Or set the value of white: {_STATE.format(likely_white(high))}." if low >= 0 and math.isfinite(high) else ""
    )
