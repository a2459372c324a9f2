"""Split rows in two with the same share of every class."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fmnist.errors import FmnistError


class StratifiedRows(NamedTuple):
    """Row indices of both parts, ascending."""

    remaining: NDArray[np.int64]
    held_out: NDArray[np.int64]


def stratified(
    labels: NDArray[np.int64], class_names: tuple[str, ...], *, share: float, seed: int, into: str
) -> StratifiedRows:
    """Hold out `share` of every class; the same rows for the same seed. `into` names the held-out part in errors.

    Raises: FmnistError if a class has too few images for both parts.
    """
    from sklearn.model_selection import train_test_split  # a second to import, not needed for a cached split

    count = round(share * len(labels))
    _require_every_class(labels, class_names, count, into)
    remaining, held_out = train_test_split(np.arange(len(labels)), test_size=count, stratify=labels, random_state=seed)
    return StratifiedRows(np.sort(remaining), np.sort(held_out))


def _require_every_class(labels: NDArray[np.int64], class_names: tuple[str, ...], held_out: int, into: str) -> None:
    counts = np.bincount(labels, minlength=len(class_names))
    smallest = int(counts.argmin())
    # A stratified part gets at least floor(count * part / all) images of a class.
    if counts[smallest] * min(held_out, len(labels) - held_out) < len(labels):
        raise FmnistError(
            f"Every class must be in train and in {into}; {class_names[smallest]!r} has {counts[smallest]} of "
            f"{len(labels):,} images, and {into} takes {held_out:,}. Add images of that class, or remove it."
        )
