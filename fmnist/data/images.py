"""Labelled images in memory, as all sources return them."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fmnist.errors import FmnistError
from fmnist.size import SIDE, Size

__all__ = ["SIDE", "Images", "require_images"]


@dataclass(frozen=True)
class Images:
    """Images, with their classes.

    Shape: pixels uint8 [N, side, side], in colour [N, side, side, 3]; labels int64 [N], encoded 0 ..
    len(class_names) - 1.
    """

    pixels: NDArray[np.uint8]
    labels: NDArray[np.int64]
    class_names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: NDArray[np.int64]) -> "Images":
        """Return the images at `rows`, in that order."""
        return Images(self.pixels[rows], self.labels[rows], self.class_names)


def require_images(pixels: NDArray[Any], size: Size, hint: str) -> None:
    """Require images of that size as bytes; `hint` is the next step in the error.

    Raises: FmnistError if they have another shape or type.
    """
    if pixels.dtype != np.uint8 or pixels.shape[1:] != size.shape:
        expected = ", ".join(map(str, size.shape))
        raise FmnistError(f"Images must be uint8 [N, {expected}], got {pixels.dtype} {list(pixels.shape)}. {hint}")
