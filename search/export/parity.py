"""Whether an exported file says what PyTorch says, and how far an int8 one, which need not, is from it."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fmnist.metrics import Ints, macro_f1
from search.errors import SearchError

TOLERANCE = 1e-4  # of a probability


@dataclass(frozen=True)
class Parity:
    """How far the probabilities in one file are from those of PyTorch (eager, CPU, float32)."""

    file: str
    bytes: int
    images: int
    largest_difference: float  # of a probability
    disagreements: int  # images with another likeliest class
    ties: int  # those of them whose two best classes PyTorch itself holds for as likely, within the tolerance

    def as_json(self) -> dict[str, Any]:
        """The fields, for a JSON file."""
        return asdict(self)


@dataclass(frozen=True)
class Quantised:
    """How an int8 file does on the test images. It is not held to the tolerance: what it loses is measured and said."""

    file: str
    bytes: int
    images: int
    largest_difference: float  # of a probability, from PyTorch's
    disagreements: int  # images with another likeliest class than PyTorch's
    # None where the labels are not at hand.
    macro_f1: float | None
    accuracy: float | None
    macro_f1_difference: float | None  # from the same model in float32; negative where int8 is worse
    accuracy_difference: float | None

    @property
    def share_otherwise(self) -> float:
        """Of the images, those that are classed otherwise."""
        return self.disagreements / self.images

    def as_json(self) -> dict[str, Any]:
        """The fields, for a JSON file."""
        return asdict(self) | {"share_otherwise": self.share_otherwise}


def measure(
    file: str, size: int, expected: NDArray[np.float32], found: NDArray[np.float32], labels: Ints | None
) -> Quantised:
    """How far `found` is from PyTorch's probabilities, and by the labels what that costs.

    Shape: expected and found [N, classes], labels [N].
    Raises: SearchError where there are not as many probabilities, or not finite ones.
    """
    if found.shape != expected.shape or not np.isfinite(found).all():
        raise SearchError(
            f"{file} must give finite probabilities {list(expected.shape)}; it does not. Export without --format "
            "onnx-int8."
        )
    largest, ours, theirs = float(np.abs(found - expected).max()), found.argmax(axis=1), expected.argmax(axis=1)
    part = (file, size, len(expected), largest, int((ours != theirs).sum()))
    if labels is None:
        return Quantised(*part, None, None, None, None)
    f1, exact_f1 = (macro_f1(labels, predictions, expected.shape[1]) for predictions in (ours, theirs))
    accuracy, exact = (float((predictions == labels).mean()) for predictions in (ours, theirs))
    return Quantised(*part, f1, accuracy, f1 - exact_f1, accuracy - exact)


def compare(file: str, size: int, expected: NDArray[np.float32], found: NDArray[np.float32]) -> Parity:
    """The two agree: no probability differs by more than 1e-4, and the likeliest class differs nowhere but in ties.

    Shape: expected (PyTorch's) and found [N, classes].
    Raises: SearchError where they do not agree.
    """
    if found.shape != expected.shape:
        raise SearchError(
            f"{file} must give probabilities {list(expected.shape)} as PyTorch does, got {list(found.shape)}."
        )
    largest = float(np.abs(found - expected).max())
    second, first = np.sort(expected, axis=1)[:, -2:].T
    other = found.argmax(axis=1) != expected.argmax(axis=1)
    disagreements, ties = int(other.sum()), int((other & (first - second < TOLERANCE)).sum())
    if not (largest <= TOLERANCE and disagreements == ties):  # written so that NaN does not pass
        raise SearchError(
            f"{file} must say what PyTorch says, within {TOLERANCE:g} of a probability; it differs by up to "
            f"{largest:.2g}, and in the "
            f"class of {disagreements - ties:,} of {len(expected):,} images. Nothing was exported: try another version "
            "of PyTorch."
        )
    return Parity(file, size, len(expected), largest, disagreements, ties)
