"""How good predictions are: scores of one model, and how sure a mean over seeds can be."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.integer]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """Of one model on one split; a class nobody has and nobody predicts scores 0.

    Shape: precision, recall, f1 and support [C]; confusion [C, C], rows true, columns predicted.
    """

    macro_f1: float
    accuracy: float
    precision: Floats
    recall: Floats
    f1: Floats
    support: Ints
    confusion: Ints


def macro_f1(labels: Ints, predictions: Ints, classes: int) -> float:
    """The mean of the F1 of every class, those without an image included.

    Shape: labels and predictions [N], encoded 0 .. classes - 1.
    """
    confusion = np.bincount(labels * classes + predictions, minlength=classes**2).reshape(1, classes, classes)
    return float(_macro_f1(confusion)[0])


def score(labels: Ints, predictions: Ints, classes: int) -> Scores:
    """Everything the report says of one model.

    Shape: labels and predictions [N], encoded 0 .. classes - 1.
    """
    from sklearn.metrics import (
        confusion_matrix,
        precision_recall_fscore_support,
    )  # a second to import, and workers need none of it

    every = range(classes)
    confusion = confusion_matrix(labels, predictions, labels=every)
    precision, recall, f1, support = precision_recall_fscore_support(labels, predictions, labels=every, zero_division=0)
    accuracy = float(np.trace(confusion) / len(labels))
    return Scores(float(f1.mean()), accuracy, precision, recall, f1, support, confusion)


def bootstrap_interval(
    labels: Ints, predictions: Ints, classes: int, *, resamples: int = 2000, level: float = 0.95, seed: int = 0
) -> tuple[float, float]:
    """The percentile interval of the mean over seeds of macro F1, if other test images had been drawn.

    Every seed sees the same resampled images, so the interval is about the images; the spread over seeds is a figure of
    its own.

    Shape: labels [N], predictions [S, N] of S models.
    Source: Efron, "Bootstrap Methods: Another Look at the Jackknife", 1979.
    """
    return _interval(_resampled(labels, predictions, classes, resamples, seed).mean(axis=1), level)


@dataclass(frozen=True, slots=True)
class Difference:
    """First minus second, in mean macro F1, and the percentile interval that other test images would have put it in."""

    value: float
    low: float
    high: float


def paired_difference(
    labels: Ints, first: Ints, second: Ints, classes: int, *, resamples: int = 2000, level: float = 0.95, seed: int = 0
) -> Difference:
    """By how much the first models' mean macro F1 is above the second's on the same images.

    Both see the same resampled images, so what is hard for both cancels out: the interval is far narrower than two
    intervals side by side, which may overlap where the difference is plain. It is about the images, as
    bootstrap_interval is.

    Shape: labels [N]; first [S, N] and second [T, N], of S and T models.
    Source: Koehn, "Statistical Significance Tests for Machine Translation Evaluation", 2004.
    """
    value = _mean_macro_f1(labels, first, classes) - _mean_macro_f1(labels, second, classes)
    scores = _resampled(labels, np.vstack([first, second]), classes, resamples, seed)
    return Difference(
        value, *_interval(scores[:, : len(first)].mean(axis=1) - scores[:, len(first) :].mean(axis=1), level)
    )


def _mean_macro_f1(labels: Ints, predictions: Ints, classes: int) -> float:
    return float(np.mean([macro_f1(labels, row, classes) for row in predictions]))


def _interval(values: Floats, level: float) -> tuple[float, float]:
    low, high = np.quantile(values, ((1 - level) / 2, (1 + level) / 2))
    return float(low), float(high)


def _resampled(labels: Ints, predictions: Ints, classes: int, resamples: int, seed: int) -> Floats:
    """Each model's macro F1 on each of the resamples, which are the same images for all.

    Shape: labels [N], predictions [S, N] -> [R, S].
    """
    # Images with the same label and the same predictions are alike: of 10,000 there are some hundred kinds, and only
    # those are counted.
    kinds, kind = np.unique(np.vstack([labels[None], predictions]), axis=1, return_inverse=True)  # [1 + S, K], [N]
    models, cells = len(predictions), classes**2
    # One cell of one model's confusion matrix per prediction, so that counting cells is counting all the matrices at
    # once.
    cell = (np.arange(models)[:, None] * cells + kinds[0] * classes + kinds[1:]).ravel()  # [S * K]
    random = np.random.default_rng(seed)
    scores = np.empty((resamples, models))
    for i in range(resamples):
        counts = np.bincount(
            kind.ravel()[random.integers(len(labels), size=len(labels))], minlength=kinds.shape[1]
        )  # [K]
        confusions = np.bincount(cell, weights=np.tile(counts, models), minlength=models * cells)
        scores[i] = _macro_f1(confusions.reshape(models, classes, classes))
    return scores


def _macro_f1(confusions: Ints | Floats) -> Floats:
    """Macro F1 of each confusion matrix. Shape: [S, C, C] -> [S]."""
    hits = np.diagonal(confusions, axis1=1, axis2=2)
    shown = confusions.sum(axis=1) + confusions.sum(
        axis=2
    )  # of a class: how often it is predicted plus how often it is true
    f1: Floats = 2 * hits / np.maximum(shown, 1)
    return f1.mean(axis=1)  # type: ignore[no-any-return]
