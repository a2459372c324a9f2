"""Whether a network's probabilities mean what they say. No torch."""

import numpy as np
from numpy.typing import NDArray

from search.study.records import Record

BINS = 15  # as in the paper


class Bin(Record):
    """The predictions whose probability lies in (low, high]; `confidence` and `accuracy` are None where there are
    none.
    """

    low: float
    high: float
    images: int
    confidence: float | None  # their mean probability
    accuracy: float | None  # the share of them that is right


class Calibration(Record):
    """A reliability diagram in figures."""

    error: float  # expected calibration error, 0 .. 1
    images: int
    bins: tuple[Bin, ...]


def calibration(confidence: NDArray[np.floating], is_right: NDArray[np.bool_]) -> Calibration:
    """The expected calibration error of the predicted classes, and the bins that it is made of.

    ECE = sum over the bins m of |B_m| / n * |acc(B_m) - conf(B_m)|, with 15 bins of equal width, B_m = ((m - 1) / 15, m
    / 15]. 0: of all images that the network is 80 % sure of, 80 % are right, and so on for every other probability.
    Shape: confidence and is_right [N], N at least 1: the highest probability of each image, and whether that class is
    the true one.
    Source: Guo, Pleiss, Sun and Weinberger, "On Calibration of Modern Neural Networks", 2017, arXiv 1706.04599,
    equations 2, 3 and 5.
    """
    sure = confidence.astype(np.float64)
    edges = np.arange(BINS + 1) / BINS
    bins = np.searchsorted(edges[1:-1], sure, side="left")  # [N]
    counts = np.bincount(bins, minlength=BINS)
    filled = np.maximum(counts, 1)
    confidences = np.bincount(bins, weights=sure, minlength=BINS) / filled
    accuracies = np.bincount(bins, weights=is_right.astype(np.float64), minlength=BINS) / filled
    error = float(np.sum(counts / len(sure) * np.abs(accuracies - confidences)))
    return Calibration(
        error=error,
        images=len(sure),
        bins=tuple(
            Bin(
                low=float(edges[m]),
                high=float(edges[m + 1]),
                images=int(counts[m]),
                confidence=float(confidences[m]) if counts[m] else None,
                accuracy=float(accuracies[m]) if counts[m] else None,
            )
            for m in range(BINS)
        ),
    )
