"""The shapes that an image given as one row of numbers may have."""

import math

from fmnist.size import SIDE


def flat_side(length: int) -> int | None:
    """Return the side of the square grey image of `length` numbers, None if that is not the only possible image.

    Colour images smaller than 28 x 28 are not considered: otherwise 784 numbers could be 14 x 14 with 4 channels.
    """
    side = _root(length)
    return side if side and not _colours(length) else None


def readings(length: int) -> str:
    """Describe the images that a row of `length` numbers could be."""
    side = _root(length)
    grey = [f"{side} x {side} grey"] if side else _rectangles(length)
    shapes = [*grey, *_colours(length)]
    if not shapes:
        return f"{length:,} numbers are not an image of a usual shape"
    return f"{length:,} numbers could be {' or '.join(shapes)}"


def _colours(length: int) -> list[str]:
    sides = {channels: _root(length // channels) for channels in (3, 4) if length % channels == 0}
    return [f"{side} x {side} with {channels} channels" for channels, side in sides.items() if side and side >= SIDE]


def _rectangles(length: int) -> list[str]:
    """Return the two shapes nearest to a square, among those whose longer side is less than twice the shorter."""
    lower = range(math.isqrt(length), math.isqrt(length // 2), -1)
    sides = [(side, length // side) for side in lower if length % side == 0][:2]
    return [f"{a} x {b} or {b} x {a} grey" for a, b in sides]


def _root(length: int) -> int | None:
    side = math.isqrt(length)
    return side if side**2 == length else None
