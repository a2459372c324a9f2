"""The training images that are nearest to an image: as a network sees them, or pixel by pixel."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fmnist.data.images import Images

Describe = Callable[[NDArray[np.uint8]], NDArray[np.float32]]  # uint8 [N, 28, 28] -> [N, D]


@dataclass(frozen=True, eq=False)
class Neighbours:
    """Training images with a vector of length 1 each; the nearest are those with the highest cosine.

    Shape: vectors [N, D].
    """

    images: Images
    vectors: NDArray[np.float32]
    describe: Describe
    are_features: bool  # of a network; else the pixels themselves

    def nearest(self, pixels: NDArray[np.uint8], count: int) -> Images:
        """The `count` nearest training images, nearest first.

        Shape: pixels [28, 28].
        """
        cosines = self.vectors @ self.describe(pixels[None])[0]
        count = min(count, len(cosines))
        rows = np.argpartition(-cosines, count - 1)[:count]
        return self.images.take(rows[np.argsort(-cosines[rows], kind="stable")])


def by_pixels(images: Images) -> Neighbours:
    """Neighbours by what the pixels are, for a model that does not show how it sees them."""
    return Neighbours(images, _as_vectors(images.pixels), _as_vectors, are_features=False)


def by_features(images: Images, features: Describe) -> Neighbours:
    """Neighbours by the `features` that a network reads its classes from. Takes a pass over all images."""

    def describe(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        return _of_length_1(features(pixels))

    return Neighbours(images, describe(images.pixels), describe, are_features=True)


def _as_vectors(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    return _of_length_1(pixels.reshape(len(pixels), -1).astype(np.float32))


def _of_length_1(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    found: NDArray[np.float32] = (vectors / np.maximum(lengths, 1e-12)).astype(np.float32)
    return found
