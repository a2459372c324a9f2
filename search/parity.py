"""Whether an exported file says what PyTorch says."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

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


def compare(file: str, size: int, expected: NDArray[np.float32], found: NDArray[np.float32]) -> Parity:
    """The two agree: no probability differs by more than 1e-4, and the likeliest class differs nowhere but in ties.

    Shape: expected (PyTorch's) and found [N, classes].
    Raises: SearchError where they do not agree.
    """
    if found.shape != expected.shape:
        raise SearchError(f"{file} must give probabilities {list(expected.shape)} as PyTorch does, got {list(found.shape)}.")
    largest = float(np.abs(found - expected).max())
    second, first = np.sort(expected, axis=1)[:, -2:].T
    other = found.argmax(axis=1) != expected.argmax(axis=1)
    disagreements, ties = int(other.sum()), int((other & (first - second < TOLERANCE)).sum())
    if not (largest <= TOLERANCE and disagreements == ties):  # written so that NaN does not pass
        raise SearchError(
            f"{file} must say what PyTorch says, within {TOLERANCE:g} of a probability; it differs by up to {largest:.2g}, and in the "
            f"class of {disagreements - ties:,} of {len(expected):,} images. Nothing was exported: try another version of PyTorch."
        )
    return Parity(file, size, len(expected), largest, disagreements, ties)
