"""Which images a stage may see: search and confirm get train and validation, the test split is opened once, at the end."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import train_test_split

from fmnist.data.images import Images
from fmnist.data.sources import Source
from fmnist.errors import FmnistError


class SearchSplits(NamedTuple):
    """The training file in two parts: to fit on, and to choose by."""

    train: Images
    valid: Images


def search_splits(source: Source, *, seed: int, share: float = 1 / 6) -> SearchSplits:
    """The training file split in two, `share` of every class in `valid`; the same rows for the same seed.

    Raises: FmnistError where a class has too few images to be in both parts.
    """
    images = source.train()
    held_out = round(share * len(images))
    _require_every_class(images, held_out)
    train, valid = train_test_split(np.arange(len(images)), test_size=held_out, stratify=images.labels, random_state=seed)
    return SearchSplits(images.take(np.sort(train)), images.take(np.sort(valid)))


def full_split(source: Source) -> Images:
    """Train and validation together: all images that the final training may see."""
    return source.train()


def test_split(source: Source) -> Images:
    """The test split with its labels. Only `search/finalize.py` may call this, and it records each opening in the study."""
    return source.test()


def test_pixels(source: Source) -> NDArray[np.uint8]:
    """The test images without their labels, to compare exported formats by: no score can come from them.

    Shape: [N, 28, 28].
    """
    return source.test().pixels


def _require_every_class(images: Images, held_out: int) -> None:
    counts = np.bincount(images.labels, minlength=len(images.class_names))
    smallest = int(counts.argmin())
    # A stratified part takes at least floor(count * part / all) images of a class.
    if counts[smallest] * min(held_out, len(images) - held_out) < len(images):
        raise FmnistError(
            f"Every class must be in train and in validation; {images.class_names[smallest]!r} has {counts[smallest]} of "
            f"{len(images):,} images, and validation takes {held_out:,}. Add images of that class, or change the share."
        )
