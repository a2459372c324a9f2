"""The exported model's predictions on the test split, as the study's end left them; nothing is opened or scored anew. No torch."""

from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from search.records import Final


@dataclass(frozen=True, eq=False)
class Predictions:
    """Of the seed that is exported.

    Shape: labels, predicted and confidence [N].
    """

    labels: NDArray[np.int64]
    predicted: NDArray[np.int64]
    confidence: NDArray[np.floating]  # the probability of the predicted class

    @property
    def is_right(self) -> NDArray[np.bool_]:
        """Which images are named as they are."""
        return np.equal(self.labels, self.predicted)


@dataclass(frozen=True)
class Mistake:
    """An image of the test split, by its row, that the model is sure of and wrong about."""

    row: int
    true: int
    predicted: int
    confidence: float


def read_predictions(path: Path, final: Final) -> Predictions | str:
    """What `search/finalize.py` wrote to `path`; or, in a sentence, why it cannot be used."""
    if not path.exists():
        return f"The final model's predictions are not on this machine: there is no {path}."
    try:
        with np.load(path, allow_pickle=False) as arrays:
            labels, probabilities = arrays["labels"], arrays["probabilities"]  # [N], [S, N, C]
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
        return f"{path} cannot be read ({error}); it is damaged or of another program."
    seed = [run.seed for run in final.runs].index(final.exported_seed)
    classes = len(final.classes)
    if labels.shape != (final.test_images,) or probabilities.shape != (len(final.runs), final.test_images, classes):
        return _of_another_run(path)
    exported = probabilities[seed]
    predicted = exported.argmax(axis=1)
    in_range = bool(np.all((labels >= 0) & (labels < classes)))
    if not in_range or not np.array_equal(_confusion(labels, predicted, classes), np.array(final.confusion)):
        return _of_another_run(path)
    return Predictions(labels, predicted, exported.max(axis=1))


def surest_mistakes(predictions: Predictions, shown: int) -> list[Mistake]:
    """The `shown` mistakes with the highest probability, highest first."""
    wrong = np.flatnonzero(~predictions.is_right)
    order = wrong[np.argsort(-predictions.confidence[wrong], kind="stable")][:shown]
    return [
        Mistake(int(row), int(predictions.labels[row]), int(predictions.predicted[row]), float(predictions.confidence[row]))
        for row in order
    ]


def _confusion(labels: NDArray[np.int64], predicted: NDArray[np.int64], classes: int) -> NDArray[np.int64]:
    return np.bincount(labels * classes + predicted, minlength=classes**2).reshape(classes, classes)


def _of_another_run(path: Path) -> str:
    return f"{path} holds other predictions than those that the study was scored on, so they are not shown."
