"""Scores of predictions, and confidence intervals of their means over seeds."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.integer]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """Scores of one model on one split; a class with neither images nor predictions scores 0.

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
    """Return the mean F1 over all classes, including those without images.

    Shape: labels and predictions [N], encoded 0 .. classes - 1.
    """
    confusion = np.bincount(labels * classes + predictions, minlength=classes**2).reshape(1, classes, classes)
    return float(_f1(confusion)[0].mean())


def score(labels: Ints, predictions: Ints, classes: int) -> Scores:
    """Return the scores of one model.

    Shape: labels and predictions [N], encoded 0 .. classes - 1.
    """
    # Imported here because it takes a second, and workers do not need it.
    from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

    codes = range(classes)
    confusion = confusion_matrix(labels, predictions, labels=codes)
    precision, recall, f1, support = precision_recall_fscore_support(labels, predictions, labels=codes, zero_division=0)
    accuracy = float(np.trace(confusion) / len(labels))
    return Scores(float(f1.mean()), accuracy, precision, recall, f1, support, confusion)


def bootstrap_interval(
    labels: Ints, predictions: Ints, classes: int, *, resamples: int = 2000, level: float = 0.95, seed: int = 0
) -> tuple[float, float]:
    """Return the percentile interval of the mean macro F1 over seeds, by resampling the test images.

    All seeds see the same resampled images, so the interval covers the choice of the images. It does not cover the
    spread over seeds.

    Shape: labels [N], predictions [S, N] of S models.
    Source: Efron, "Bootstrap Methods: Another Look at the Jackknife", 1979.
    """
    return _interval(_resampled(labels, predictions, classes, resamples, seed).mean(axis=1), level)


@dataclass(frozen=True, slots=True)
class Difference:
    """The difference of two mean macro F1 scores, and its percentile interval over resampled test images."""

    value: float
    low: float
    high: float


def paired_difference(
    labels: Ints, first: Ints, second: Ints, classes: int, *, resamples: int = 2000, level: float = 0.95, seed: int = 0
) -> Difference:
    """Return the mean macro F1 of the first models minus that of the second models, on the same images.

    Both see the same resampled images, so images that are hard for both cancel out. The interval is far narrower than
    the two separate ones, which may overlap although the difference is clear. Like bootstrap_interval it covers only
    the choice of the images.

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
    """Return the macro F1 of each model on each resample; all models see the same resamples.

    Shape: labels [N], predictions [S, N] -> [R, S].
    """
    # Images with the same label and predictions are interchangeable. Among 10,000 there are some hundred kinds, and
    # counting these is enough.
    kinds, kind = np.unique(np.vstack([labels[None], predictions]), axis=1, return_inverse=True)  # [1 + S, K], [N]
    models, cells = len(predictions), classes**2
    # The cell of a confusion matrix for each kind and model, so that one bincount fills all matrices.
    cell = (np.arange(models)[:, None] * cells + kinds[0] * classes + kinds[1:]).ravel()  # [S * K]
    random = np.random.default_rng(seed)
    scores = np.empty((resamples, models))
    absent = classes - len(np.unique(labels))  # which count as 0 in the score too
    for i in range(resamples):
        drawn = kind.ravel()[random.integers(len(labels), size=len(labels))]
        counts = np.bincount(drawn, minlength=kinds.shape[1])  # [K]
        confusions = np.bincount(cell, weights=np.tile(counts, models), minlength=models * cells)
        confusions = confusions.reshape(models, classes, classes)
        # A class that was not drawn has no F1: as 0 it would lower all scores where classes have few images.
        drawn_classes = confusions[0].sum(axis=1) > 0
        scores[i] = _f1(confusions)[:, drawn_classes].sum(axis=1) / (drawn_classes.sum() + absent)
    return scores


def _f1(confusions: Ints | Floats) -> Floats:
    """Return the F1 of each class of each confusion matrix. Shape: [S, C, C] -> [S, C]."""
    hits = np.diagonal(confusions, axis1=1, axis2=2)
    predicted_and_true = confusions.sum(axis=1) + confusions.sum(axis=2)
    f1: Floats = 2 * hits / np.maximum(predicted_and_true, 1)
    return f1
