"""What the final models said of the test split, as the study's end left it; nothing is opened or scored anew. No
torch.
"""

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

SAME_FIGURE = 1e-9  # macro F1; what is stored was computed by the same code from the same predictions
_STEP = (
    "Restore it from a copy, or give the command in the folder where the study ran. `export` and `report` do "
    "without it once it is deleted."
)


@dataclass(frozen=True, eq=False)
class Predictions:
    """Of all final seeds, on the test images.

    Shape: labels [N], probabilities [S, N, C].
    """

    labels: Ints
    probabilities: NDArray[np.floating]
    exported: int  # the row of the seed that is exported

    @property
    def predicted(self) -> Ints:
        """The likeliest class, by each seed. Shape: [S, N]."""
        return np.asarray(self.probabilities.argmax(axis=2))

    @property
    def confidence(self) -> Floats:
        """The probability of the class that the exported model predicts. Shape: [N]."""
        return np.asarray(self.probabilities[self.exported].max(axis=1), np.float64)

    @property
    def is_right(self) -> NDArray[np.bool_]:
        """Which images the exported model names as they are. Shape: [N]."""
        return np.asarray(self.labels == self.predicted[self.exported])


@dataclass(frozen=True)
class Mistake:
    """An image of the test split, by its row, that the exported model is sure of and wrong about."""

    row: int
    true: int
    predicted: int
    confidence: float


def predictions_path(folder: Path) -> Path:
    """Where they lie, in a study's folder."""
    return folder / "final" / "predictions.npz"


def keep_predictions(folder: Path, labels: Ints, probabilities: NDArray[np.floating]) -> str:
    """The file in the study's folder holds them, whole; returns its BLAKE2b, by which it is known again. Raises:
    OSError.
    """
    file = io.BytesIO()
    np.savez_compressed(file, labels=labels, probabilities=probabilities)
    write_in_place(predictions_path(folder), file.getvalue())
    return hashlib.blake2b(file.getvalue()).hexdigest()


def read_predictions(folder: Path, final: Final) -> Predictions | None:
    """Those that the study of that folder was scored on; None where the file is gone.

    Raises: SearchError where the file is damaged, or holds something else.
    """
    path = predictions_path(folder)
    try:
        content = path.read_bytes()
        _require_digest(path, content, final.predictions)
        with np.load(io.BytesIO(content), allow_pickle=False) as kept:
            labels, probabilities = kept["labels"], kept["probabilities"]
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
        wanted = f"labels [{images}] below {classes} and probabilities [{len(final.runs)}, {images}, {classes}]"
        raise SearchError(
            f"{path} must hold {wanted}, got {list(labels.shape)} and {list(probabilities.shape)}. {_STEP}"
        )
    found = Predictions(
        labels.astype(np.int64), probabilities, [run.seed for run in final.runs].index(final.exported_seed)
    )
    _require_same_scores(
        path, [macro_f1(found.labels, row, classes) for row in found.predicted], [run.macro_f1 for run in final.runs]
    )
    return found


def surest_mistakes(predictions: Predictions, shown: int) -> list[Mistake]:
    """The `shown` mistakes of the exported model with the highest probability, highest first."""
    wrong, confidence = np.flatnonzero(~predictions.is_right), predictions.confidence
    named = predictions.predicted[predictions.exported]
    order = wrong[np.argsort(-confidence[wrong], kind="stable")][:shown]
    return [Mistake(int(row), int(predictions.labels[row]), int(named[row]), float(confidence[row])) for row in order]


def _require_digest(path: Path, content: bytes, expected: str | None) -> None:
    if expected is not None and hashlib.blake2b(content).hexdigest() != expected:
        raise SearchError(f"{path} must be the file of the study's final models; its checksum is another one. {_STEP}")


def _require_same_scores(path: Path, found: list[float], expected: list[float]) -> None:
    if any(abs(one - other) > SAME_FIGURE for one, other in zip(found, expected, strict=True)):
        raise SearchError(
            f"{path} must hold the predictions that the study was scored on: macro F1 {', '.join(map(f1, expected))}; "
            "those in it have "
            f"{', '.join(map(f1, found))}. {_STEP}"
        )
