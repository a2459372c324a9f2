"""A subset of the training images, as the toolkit's cache and as torchvision's files."""

import os
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

import numpy as np

from fmnist.data.clean import Cleaned
from fmnist.data.cleaning import CleaningReport
from fmnist.data.images import SIDE, Images
from fmnist.data.official import OFFICIAL
from fmnist.data.sources import Source
from fmnist.data.store import save_cleaned
from fmnist.data.stratify import stratified


@contextmanager
def part_of(source: Source, images: int | None) -> Iterator[tuple[Path, Source]]:
    """Yield a temporary folder, and in it a source of at most `images` training images, or all if it is None.

    The subset is stratified. Instead of a test split it has two training images.
    Raises: FmnistError if a class would have no image.
    """
    # Files derived from the subset, here and in workers, must not stay in the user's cache.
    with TemporaryDirectory() as folder, patch.dict(os.environ, XDG_CACHE_HOME=folder):
        yield Path(folder), _subset(source, images, Path(folder, "cleaned"))


def _subset(source: Source, images: int | None, folder: Path) -> Source:
    train = source.train()
    if images is not None and images < len(train):
        share = images / len(train)
        train = train.take(
            stratified(train.labels, train.class_names, share=share, seed=0, into="the benchmark").held_out
        )
    stand_in = train.take(np.arange(2))
    report = CleaningReport(
        train_read=len(train), train_kept=len(train), test_read=2, test_kept=2, held_out=0, caught=()
    )
    folder.mkdir()
    save_cleaned(
        folder, Cleaned(train, stand_in, report, scoring_pixels=None, caught={}, preparation=source.preparation)
    )
    return Source(source.name, folder)


def write_for_torchvision(parts: Sequence[Images], root: Path) -> None:
    """Write the images of all parts, one after the other, for `torchvision.datasets.FashionMNIST(root)`."""
    raw = root / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    pixels = np.concatenate([part.pixels for part in parts])
    labels = np.concatenate([part.labels for part in parts]).astype(np.uint8)
    # torchvision requires the test files but does not open them.
    for (image_file, label_file), count in ((OFFICIAL[:2], len(labels)), (OFFICIAL[2:], 2)):
        (raw / image_file.name).write_bytes(struct.pack(">4I", 0x0803, count, SIDE, SIDE) + pixels[:count].tobytes())
        (raw / label_file.name).write_bytes(struct.pack(">2I", 0x0801, count) + labels[:count].tobytes())
