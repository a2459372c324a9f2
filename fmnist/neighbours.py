"""The nearest training images of an image, by the features of a network or by pixels."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fmnist.data.images import Images

Describe = Callable[[NDArray[np.uint8]], NDArray[np.float32]]  # uint8 [N, 28, 28] -> [N, D]


@dataclass(frozen=True, eq=False)
class Neighbours:
    """Training images with a vector of length 1 each; the nearest have the highest cosine similarity.

    Shape: vectors [N, D].
    """

    images: Images
    vectors: NDArray[np.float32]
    describe: Describe
    are_features: bool  # of a network; otherwise the vectors are pixels

    def nearest(self, pixels: NDArray[np.uint8], count: int) -> Images:
        """Return the `count` nearest training images, nearest first. Shape: pixels [28, 28]."""
        cosines = self.vectors @ self.describe(pixels[None])[0]
        count = min(count, len(cosines))
        rows = np.argpartition(-cosines, count - 1)[:count]
        return self.images.take(rows[np.argsort(-cosines[rows], kind="stable")])


def by_pixels(images: Images) -> Neighbours:
    """Return neighbours by pixels, for a model without features."""
    return Neighbours(images, _as_vectors(images.pixels), _as_vectors, are_features=False)


def by_features(images: Images, features: Describe) -> Neighbours:
    """Return neighbours by a network's `features`. Computes them for all images."""

    def describe(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        return _normalised(features(pixels))

    return Neighbours(images, describe(images.pixels), describe, are_features=True)


def _as_vectors(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    return _normalised(pixels.reshape(len(pixels), -1).astype(np.float32))


def _normalised(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: NDArray[np.float32] = (vectors / np.maximum(lengths, 1e-12)).astype(np.float32)
    return unit
