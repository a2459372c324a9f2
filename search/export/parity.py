"""Comparison of exported files with PyTorch: exact formats must agree, an int8 file is only measured."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fmnist.metrics import Ints, macro_f1
from search.errors import SearchError

TOLERANCE = 1e-4  # of a probability


@dataclass(frozen=True)
class Parity:
    """The difference of a file's probabilities from those of PyTorch (eager, CPU, float32)."""

    file: str
    bytes: int
    images: int
    largest_difference: float  # of a probability
    disagreements: int  # images with a different predicted class
    ties: int  # disagreements on images whose two best classes are equally likely in PyTorch, within the tolerance

    def as_json(self) -> dict[str, Any]:
        """Return the fields for a JSON file."""
        return asdict(self)


@dataclass(frozen=True)
class Quantised:
    """The scores of an int8 file on the test images, for which no tolerance is required."""

    file: str
    bytes: int
    images: int
    largest_difference: float  # of a probability, from PyTorch's
    disagreements: int  # images with a different predicted class than in PyTorch
    # None without labels.
    macro_f1: float | None
    accuracy: float | None
    macro_f1_difference: float | None  # from the same model in float32; negative if int8 is worse
    accuracy_difference: float | None

    @property
    def share_otherwise(self) -> float:
        """Return the share of images with a different predicted class."""
        return self.disagreements / self.images

    def as_json(self) -> dict[str, Any]:
        """Return the fields for a JSON file."""
        return asdict(self) | {"share_otherwise": self.share_otherwise}


def measure(
    file: str, size: int, expected: NDArray[np.float32], probabilities: NDArray[np.float32], labels: Ints | None
) -> Quantised:
    """Measure the difference of `probabilities` from PyTorch's, `expected`, and with labels the loss in scores.

    Shape: expected and probabilities [N, classes], labels [N].
    Raises: SearchError if the shapes differ, or a probability is not finite.
    """
    if probabilities.shape != expected.shape or not np.isfinite(probabilities).all():
        raise SearchError(
            f"{file} must give finite probabilities {list(expected.shape)}; it does not. Export without --format "
            "onnx-int8."
        )
    difference = float(np.abs(probabilities - expected).max())
    predicted, reference = probabilities.argmax(axis=1), expected.argmax(axis=1)
    figures = (file, size, len(expected), difference, int((predicted != reference).sum()))
    if labels is None:
        return Quantised(*figures, None, None, None, None)
    f1, exact_f1 = (macro_f1(labels, predictions, expected.shape[1]) for predictions in (predicted, reference))
    accuracy, exact = (float((predictions == labels).mean()) for predictions in (predicted, reference))
    return Quantised(*figures, f1, accuracy, f1 - exact_f1, accuracy - exact)


def compare(file: str, size: int, expected: NDArray[np.float32], probabilities: NDArray[np.float32]) -> Parity:
    """Require that no probability differs by more than 1e-4 from PyTorch's, and predicted classes only in ties.

    Shape: expected (PyTorch's) and probabilities [N, classes].
    Raises: SearchError if they differ by more.
    """
    if probabilities.shape != expected.shape:
        raise SearchError(
            f"{file} must give probabilities {list(expected.shape)} as PyTorch does, got {list(probabilities.shape)}."
        )
    difference = float(np.abs(probabilities - expected).max())
    second, first = np.sort(expected, axis=1)[:, -2:].T
    differs = probabilities.argmax(axis=1) != expected.argmax(axis=1)
    disagreements, ties = int(differs.sum()), int((differs & (first - second < TOLERANCE)).sum())
    if not (difference <= TOLERANCE and disagreements == ties):  # NaN must fail
        raise SearchError(
            f"{file} must agree with PyTorch within {TOLERANCE:g} of a probability; it differs by up to "
            f"{difference:.2g}, and in the class of {disagreements - ties:,} of {len(expected):,} images. Nothing was "
            "exported: try another version of PyTorch."
        )
    return Parity(file, size, len(expected), difference, disagreements, ties)
