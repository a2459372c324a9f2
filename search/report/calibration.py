"""How far a network's probabilities are from its accuracy. No torch."""

import numpy as np
from numpy.typing import NDArray

from fmnist.temperature import with_temperature
from search.study.predictions import Predictions
from search.study.record import Record
from search.terminal.wording import counted

BINS = 15  # as in the paper


class Bin(Record):
    """The predictions whose probability is in (low, high]; `confidence` and `accuracy` are None in an empty bin."""

    low: float
    high: float
    images: int
    confidence: float | None  # their mean probability
    accuracy: float | None  # the share of correct ones


class Calibration(Record):
    """The figures of a reliability diagram."""

    error: float  # expected calibration error, 0 .. 1
    images: int
    bins: tuple[Bin, ...]


def calibration(confidence: NDArray[np.floating], is_right: NDArray[np.bool_]) -> Calibration:
    """Return the expected calibration error of the predicted classes, and its bins.

    ECE = sum over the bins m of |B_m| / n * |acc(B_m) - conf(B_m)|, with 15 bins of equal width,
    B_m = ((m - 1) / 15, m / 15]. At an ECE of 0, 80 % of the predictions made with a probability of 80 % are correct,
    and so on for every other probability.
    Shape: confidence and is_right [N], N at least 1: the highest probability of each image, and whether its class is
    the true one.
    Source: Guo, Pleiss, Sun and Weinberger, "On Calibration of Modern Neural Networks", 2017, arXiv 1706.04599,
    equations 2, 3 and 5.
    """
    probabilities = confidence.astype(np.float64)
    edges = np.arange(BINS + 1) / BINS
    bins = np.searchsorted(edges[1:-1], probabilities, side="left")  # [N]
    counts = np.bincount(bins, minlength=BINS)
    filled = np.maximum(counts, 1)
    confidences = np.bincount(bins, weights=probabilities, minlength=BINS) / filled
    accuracies = np.bincount(bins, weights=is_right.astype(np.float64), minlength=BINS) / filled
    error = float(np.sum(counts / len(probabilities) * np.abs(accuracies - confidences)))
    return Calibration(
        error=error,
        images=len(probabilities),
        bins=tuple(
            Bin(
                low=float(edges[i]),
                high=float(edges[i + 1]),
                images=int(counts[i]),
                confidence=float(confidences[i]) if counts[i] else None,
                accuracy=float(accuracies[i]) if counts[i] else None,
            )
            for i in range(BINS)
        ),
    )


def error_without(temperature: float, predictions: Predictions) -> float:
    """Return the expected calibration error that the exported model would have without its temperature."""
    undone = with_temperature(predictions.probabilities[predictions.exported], 1 / temperature)  # [N, C]
    return calibration(undone.max(axis=1), predictions.is_right).error


def fitted_on(trial: int | None, fresh_seeds: int) -> str:
    """Return what the temperature of the confirmed trial was fitted on, in words."""
    if fresh_seeds == 0:
        return f"the validation images, with the network of trial {trial} of the search"
    networks = f"the {counted(fresh_seeds, 'network')} that the confirm stage trained of trial {trial}"
    return f"the validation images, with {networks}{' (geometric mean)' if fresh_seeds > 1 else ''}"
