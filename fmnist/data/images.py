"""Labelled images in memory, as all sources return them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SIDE = 28  # pixels of each side of an image


@dataclass(frozen=True)
class Images:
    """Grey images on a dark ground, with their classes.

    Shape: pixels uint8 [N, 28, 28]; labels int64 [N], encoded 0 .. len(class_names) - 1.
    """

    pixels: NDArray[np.uint8]
    labels: NDArray[np.int64]
    class_names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: NDArray[np.int64]) -> "Images":
        """Return the images at `rows`, in that order."""
        return Images(self.pixels[rows], self.labels[rows], self.class_names)
