"""Sources of images made by a test."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fmnist.data.clean import Cleaned
from fmnist.data.cleaning import CleaningReport
from fmnist.data.images import Images
from fmnist.data.preparation import Preparation
from fmnist.data.sources import Source
from fmnist.data.store import save_cleaned


def prepared(
    folder: Path, train: Images, test: Images | None = None, *, scoring_pixels: NDArray[np.uint8] | None = None
) -> Source:
    """Save these images in `folder` as cleaning does; the test split defaults to the first two of train."""
    test = test or train.take(np.arange(2))
    report = CleaningReport(
        train_read=len(train), train_kept=len(train), test_read=len(test), test_kept=len(test), held_out=0, caught=()
    )
    folder.mkdir(parents=True, exist_ok=True)
    save_cleaned(folder, Cleaned(train, test, report, scoring_pixels, {}, Preparation()))
    return Source("drawn", folder)
