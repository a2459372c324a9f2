"""Stored predictions of the final models on the test split, read without opening the split again. No torch."""

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from fmnist.atomic import write_in_place
from fmnist.metrics import Floats, Ints, macro_f1
from search.errors import SearchError
from search.study.records import Final
from search.terminal.wording import f1

SAME_FIGURE = 1e-9  # macro F1; the stored figure was computed by the same code from the same predictions
_STEP = (
    "Restore it from a copy, or run the command in the folder where the study ran. `export` and `report` also work "
    "without the file: delete it."
)


@dataclass(frozen=True, eq=False)
class Predictions:
    """Predictions of the models of all final seeds on the test images.

    Shape: labels [N], probabilities [S, N, C].
    """

    labels: Ints
    probabilities: NDArray[np.floating]
    exported: int  # the row of the seed that is exported

    @property
    def predicted(self) -> Ints:
        """The most probable class for each seed. Shape: [S, N]."""
        return np.asarray(self.probabilities.argmax(axis=2))

    @property
    def confidence(self) -> Floats:
        """The probability of the class that the exported model predicts. Shape: [N]."""
        return np.asarray(self.probabilities[self.exported].max(axis=1), np.float64)

    @property
    def is_right(self) -> NDArray[np.bool_]:
        """Whether the exported model classifies each image correctly. Shape: [N]."""
        return np.asarray(self.labels == self.predicted[self.exported])


@dataclass(frozen=True)
class Mistake:
    """A test image, by its row, that the exported model misclassifies with high confidence."""

    row: int
    true: int
    predicted: int
    confidence: float


def predictions_path(folder: Path) -> Path:
    """Return the path of the predictions in a study's folder."""
    return folder / "final" / "predictions.npz"


def keep_predictions(folder: Path, labels: Ints, probabilities: NDArray[np.floating]) -> str:
    """Write the predictions to the study's folder atomically and return the BLAKE2b of the file. Raises: OSError."""
    file = io.BytesIO()
    np.savez_compressed(file, labels=labels, probabilities=probabilities)
    write_in_place(predictions_path(folder), file.getvalue())
    return hashlib.blake2b(file.getvalue()).hexdigest()


def read_predictions(folder: Path, final: Final) -> Predictions | None:
    """Return the predictions that the study was scored on, or None if the file was deleted.

    Raises: SearchError if the file is damaged, or holds other predictions.
    """
    path = predictions_path(folder)
    try:
        content = path.read_bytes()
        _require_digest(path, content, final.predictions)
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            labels, probabilities = arrays["labels"], arrays["probabilities"]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, EOFError, TypeError, BadZipFile) as error:
        raise SearchError(
            f"{path} must hold the predictions of the study's final models; it is damaged ({error}). {_STEP}"
        ) from None
    images, classes = final.test_images, len(final.classes)
    fits = (
        labels.shape == (images,)
        and probabilities.shape == (len(final.runs), images, classes)
        and labels.dtype.kind in "iu"
    )
    if not fits or labels.min() < 0 or labels.max() >= classes:
        rule = f"labels [{images}] below {classes} and probabilities [{len(final.runs)}, {images}, {classes}]"
        raise SearchError(f"{path} must hold {rule}, got {list(labels.shape)} and {list(probabilities.shape)}. {_STEP}")
    predictions = Predictions(
        labels.astype(np.int64), probabilities, [run.seed for run in final.runs].index(final.exported_seed)
    )
    scores = [macro_f1(predictions.labels, predicted, classes) for predicted in predictions.predicted]
    _require_same_scores(path, scores, [run.macro_f1 for run in final.runs])
    return predictions


def surest_mistakes(predictions: Predictions, shown: int) -> list[Mistake]:
    """Return the exported model's `shown` mistakes of highest probability, highest first."""
    wrong, confidence = np.flatnonzero(~predictions.is_right), predictions.confidence
    predicted = predictions.predicted[predictions.exported]
    rows = wrong[np.argsort(-confidence[wrong], kind="stable")][:shown]
    return [
        Mistake(int(row), int(predictions.labels[row]), int(predicted[row]), float(confidence[row])) for row in rows
    ]


def _require_digest(path: Path, content: bytes, expected: str | None) -> None:
    if expected is not None and hashlib.blake2b(content).hexdigest() != expected:
        raise SearchError(f"{path} must be the file of the study's final models; its checksum differs. {_STEP}")


def _require_same_scores(path: Path, scores: list[float], expected: list[float]) -> None:
    if any(abs(score - stored) > SAME_FIGURE for score, stored in zip(scores, expected, strict=True)):
        raise SearchError(
            f"{path} must hold the predictions that the study was scored on: macro F1 {', '.join(map(f1, expected))}; "
            f"those in it have {', '.join(map(f1, scores))}. {_STEP}"
        )
