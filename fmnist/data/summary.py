"""Counts and statistics of the images of a data set."""

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from fmnist.data.images import Images

GREYS = 256
BLOCK = 2_000  # images per histogram; counting takes 8 bytes a pixel


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ClassSummary(_Frozen):
    """Statistics of one class."""

    name: str
    train: int
    test: int
    share: float  # of the training images
    brightness: float | None  # mean grey of its training images; None if there is none


class PixelSummary(_Frozen):
    """Statistics of the grey values of all training images, from 0, black, to 255, white."""

    mean: float
    sd: float
    low: int
    high: int
    black: float  # share of pixels that are 0
    white: float  # share of pixels that are 255


class DataSummary(_Frozen):
    """Counts and statistics of both splits."""

    train: int
    test: int
    classes: tuple[ClassSummary, ...]  # in the order of the labels
    pixels: PixelSummary | None  # None if there is no training image


def summarise(train: Images, test: Images) -> DataSummary:
    """Count the images of both splits by class, and the pixels of `train` by grey."""
    return DataSummary(train=len(train), test=len(test), classes=_classes(train, test), pixels=_pixels(train.pixels))


def _classes(train: Images, test: Images) -> tuple[ClassSummary, ...]:
    count = len(train.class_names)
    train_counts, test_counts = (np.bincount(split.labels, minlength=count) for split in (train, test))
    size = math.prod(train.pixels.shape[1:])
    sums = np.bincount(
        train.labels, weights=train.pixels.reshape(-1, size).sum(axis=1, dtype=np.uint32), minlength=count
    )
    return tuple(
        ClassSummary(
            name=name,
            train=int(train_counts[i]),
            test=int(test_counts[i]),
            share=float(train_counts[i] / max(1, len(train))),
            brightness=float(sums[i] / (train_counts[i] * size)) if train_counts[i] else None,
        )
        for i, name in enumerate(train.class_names)
    )


def _pixels(pixels: NDArray[np.uint8]) -> PixelSummary | None:
    if not pixels.size:
        return None
    counts = sum(_histograms(pixels), np.zeros(GREYS, np.int64))
    greys = np.arange(GREYS)
    mean = float(np.average(greys, weights=counts))
    present = np.flatnonzero(counts)
    return PixelSummary(
        mean=mean,
        sd=math.sqrt(np.average((greys - mean) ** 2, weights=counts)),
        low=int(present[0]),
        high=int(present[-1]),
        black=float(counts[0] / pixels.size),
        white=float(counts[-1] / pixels.size),
    )


def _histograms(pixels: NDArray[np.uint8]) -> Iterator[NDArray[np.int64]]:
    for start in range(0, len(pixels), BLOCK):
        yield np.bincount(pixels[start : start + BLOCK].ravel(), minlength=GREYS)
