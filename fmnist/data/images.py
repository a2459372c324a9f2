"""Labelled images in memory, the one form all sources end in."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SIDE = 28  # pixels of a side of every image that a network sees


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
        """The images at `rows`, in that order."""
        return Images(self.pixels[rows], self.labels[rows], self.class_names)
