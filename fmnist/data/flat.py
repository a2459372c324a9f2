"""Rows of numbers without a shape: which images they could be, and the one that they are where only one is possible."""

import math

from fmnist.data.images import SIDE


def flat_side(length: int) -> int | None:
    """The side of the square grey image that a row of `length` numbers is; None where it could be another image, or is
    no square.

    A colour image that is smaller than 28 x 28 is not thought of: else 784 numbers could be 14 x 14 with 4 channels.
    """
    side = _root(length)
    return side if side and not _colours(length) else None


def readings(length: int) -> str:
    """The images that a row of `length` numbers could be, in words."""
    side = _root(length)
    grey = [f"{side} x {side} grey"] if side else _oblong(length)
    found = [*grey, *_colours(length)]
    return (
        f"{length:,} numbers could be {' or '.join(found)}"
        if found
        else f"{length:,} numbers are no image of a usual shape"
    )


def _colours(length: int) -> list[str]:
    sides = {channels: _root(length // channels) for channels in (3, 4) if length % channels == 0}
    return [f"{side} x {side} with {channels} channels" for channels, side in sides.items() if side and side >= SIDE]


def _oblong(length: int) -> list[str]:
    """Images of two sides of which neither is twice the other; the two nearest to a square."""
    lower = range(math.isqrt(length), math.isqrt(length // 2), -1)
    sides = [(side, length // side) for side in lower if length % side == 0][:2]
    return [f"{a} x {b} or {b} x {a} grey" for a, b in sides]


def _root(length: int) -> int | None:
    side = math.isqrt(length)
    return side if side**2 == length else None
