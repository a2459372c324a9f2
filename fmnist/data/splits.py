"""The images that each stage sees: search and confirm get train and validation; the test split is opened at the end."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fmnist.data.cache import cache_folder, cached_folder, digest
from fmnist.data.images import Images
from fmnist.data.sources import Source, fingerprint
from fmnist.data.store import load_images, save_splits
from fmnist.data.stratify import stratified
from fmnist.errors import FmnistError

SPLIT_SEED = 0  # the same for all studies, so that their validation scores are comparable


class SearchSplits(NamedTuple):
    """The training file in two parts: to fit models, and to choose between them."""

    train: Images
    valid: Images


def search_splits(source: Source, *, seed: int, share: float = 1 / 6) -> SearchSplits:
    """Split the training file in two, with `share` of every class in `valid`; the same rows for the same seed.

    The splits are cached and mapped into memory, so that all processes share one copy.

    Raises: FmnistError if a class has too few images for both parts.
    """

    def make(folder: Path) -> None:
        save_splits(folder, _split(source, seed, share)._asdict())

    state = source.folder.stat()
    try:
        folder = cached_folder("split", digest(str(source.folder), state.st_mtime_ns, seed, share), make)
    except OSError as error:
        raise FmnistError(
            f"The split of the images must be kept in the cache, {cache_folder()}, which cannot be written: "
            f"{error.strerror or error}. Free space there, or set XDG_CACHE_HOME to another folder."
        ) from None
    return SearchSplits(load_images(folder, "train"), load_images(folder, "valid"))


def _split(source: Source, seed: int, share: float) -> SearchSplits:
    images = source.train()
    rows = stratified(images.labels, images.class_names, share=share, seed=seed, into="validation")
    return SearchSplits(images.take(rows.remaining), source.train_for_scoring().take(rows.held_out))


def full_split(source: Source) -> Images:
    """Return train and validation together: all images for the final training."""
    return source.train()


def test_split(source: Source) -> Images:
    """Return the test split with its labels. Only `search/job/final.py` may call this, and records every opening."""
    return source.test()


def test_pixels(source: Source) -> NDArray[np.uint8]:
    """Return the test images without labels, to compare exported formats: they cannot yield a score.

    Shape: [N, side, side], in colour [N, side, side, 3].
    """
    return source.test().pixels


def test_fingerprint(source: Source) -> str:
    """Return the fingerprint of the test split, so that a study cannot continue with another one."""
    return fingerprint(source.test())
