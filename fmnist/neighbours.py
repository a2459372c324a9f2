"""The nearest training images of an image, by the features of a network or by pixels."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fmnist.data.images import Images

Describe = Callable[[NDArray[np.uint8]], NDArray[np.float32]]  # uint8 [N, ...] -> [N, D]
SAMPLE, CHUNK = 500, 50  # training images that are compared with all others, and how many at a time
FAR = 0.01  # share of the training images that are as far from the others as an image that is far from them


@dataclass(frozen=True, eq=False)
class Neighbours:
    """Training images with a vector of length 1 each; the nearest have the highest cosine similarity.

    Shape: vectors [N, D].
    """

    images: Images
    vectors: NDArray[np.float32]
    describe: Describe
    are_features: bool  # of a network; otherwise the vectors are pixels
    least: float  # similarity of a training image to its nearest one; all but FAR have more

    def nearest(self, pixels: NDArray[np.uint8], count: int) -> tuple[Images, bool]:
        """Return the `count` nearest training images, nearest first, and whether even the first one is far.

        A training image with the same pixels is left out: it is the image itself. Shape: pixels as one of the images.
        """
        cosines = self.vectors @ self.describe(pixels[None])[0]
        rows = np.argsort(-cosines, kind="stable")
        itself = (self.images.pixels == pixels).all(axis=tuple(range(1, self.images.pixels.ndim)))
        rows = rows[~itself[rows]][:count]
        return self.images.take(rows), bool(len(rows) and cosines[rows[0]] < self.least)


def by_pixels(images: Images) -> Neighbours:
    """Return neighbours by pixels, for a model without features."""
    return _neighbours(images, _as_vectors, are_features=False)


def by_features(images: Images, features: Describe) -> Neighbours:
    """Return neighbours by a network's `features`. Computes them for all images."""

    def describe(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        return _normalised(features(pixels))

    return _neighbours(images, describe, are_features=True)


def _neighbours(images: Images, describe: Describe, *, are_features: bool) -> Neighbours:
    vectors = describe(images.pixels)
    return Neighbours(images, vectors, describe, are_features, _least(vectors))


def _least(vectors: NDArray[np.float32]) -> float:
    """Return the similarity to the nearest other vector that all but FAR of a sample exceed."""
    if len(vectors) < 2:
        return -1.0
    rows = np.random.default_rng(0).choice(len(vectors), min(SAMPLE, len(vectors)), replace=False)
    nearest = []
    for chunk in np.split(rows, range(CHUNK, len(rows), CHUNK)):
        cosines = vectors[chunk] @ vectors.T
        cosines[np.arange(len(chunk)), chunk] = -1.0  # each vector's own
        nearest.append(cosines.max(axis=1))
    return float(np.quantile(np.concatenate(nearest), FAR))


def _as_vectors(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    return _normalised(pixels.reshape(len(pixels), -1).astype(np.float32))


def _normalised(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: NDArray[np.float32] = (vectors / np.maximum(lengths, 1e-12)).astype(np.float32)
    return unit
