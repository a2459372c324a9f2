"""Which images a stage may see: search and confirm get train and validation, the test split is opened once, at the
end.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fmnist.data.cache import digest, kept
from fmnist.data.images import Images
from fmnist.data.sources import Source, fingerprint
from fmnist.data.store import load_images, save_splits
from fmnist.data.stratify import stratified

SPLIT_SEED = 0  # one split for all studies, so that their validation figures can be compared


class SearchSplits(NamedTuple):
    """The training file in two parts: to fit on, and to choose by."""

    train: Images
    valid: Images


def search_splits(source: Source, *, seed: int, share: float = 1 / 6) -> SearchSplits:
    """The training file split in two, `share` of every class in `valid`; the same rows for the same seed.

    What was split is kept in the cache and mapped into memory: all processes share one copy.
    Raises: FmnistError where a class has too few images to be in both parts.
    """
    if source.root is None:
        return _split(source, seed, share)

    def make(folder: Path) -> None:
        save_splits(folder, _split(source, seed, share)._asdict())

    state = source.root.stat()
    folder = kept("split", digest(str(source.root), state.st_mtime_ns, seed, share), make)
    return SearchSplits(load_images(folder, "train"), load_images(folder, "valid"))


def _split(source: Source, seed: int, share: float) -> SearchSplits:
    images = source.train()
    rows = stratified(images.labels, images.class_names, share=share, seed=seed, into="validation")
    return SearchSplits(images.take(rows.kept), source.train_blind().take(rows.held_out))


def full_split(source: Source) -> Images:
    """Train and validation together: all images that the final training may see."""
    return source.train()


def test_split(source: Source) -> Images:
    """The test split with its labels. Only `search/job/final.py` may call this, and it records each opening in the
    study.
    """
    return source.test()


def test_pixels(source: Source) -> NDArray[np.uint8]:
    """The test images without their labels, to compare exported formats by: no score can come from them.

    Shape: [N, 28, 28].
    """
    return source.test().pixels


def test_fingerprint(source: Source) -> str:
    """The test split's fingerprint, so that a study cannot be finished on another one than it was begun with."""
    return fingerprint(source.test())
