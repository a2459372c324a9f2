"""Labelled images as a reader returns them and cleaning expects them."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fmnist.data.preparation import Preparation
from fmnist.data.scale import Extent

# How tables mark a missing label or pixel, in lower case and without surrounding blanks.
MISSING_WORDS = ("", "na", "n/a", "nan", "null", "none", "?")
NOT_READ = ("leftovers", "other_splits", "other_files")  # fields of Raw that list files that were not read


@dataclass(frozen=True)
class Raw:
    """One split of a data set, row for row as it was read.

    Shape: pixels uint8 [N, H, W], in colour [N, H, W, 3]; missing bool [N, H, W]; labels str [N].
    """

    pixels: NDArray[np.uint8]  # 0 where missing
    labels: NDArray[np.str_]  # as written, without surrounding blanks; "" if missing
    missing: NDArray[np.bool_] | None = None  # None if no pixel is missing
    names: tuple[str, ...] | None = None  # of files, relative to the folder read; None if rows are only numbered
    classes: tuple[str, ...] = ()  # declared by the source, with or without rows; () if it declares none
    ignored: tuple[str, ...] = ()  # columns that are neither label nor pixel
    unreadable: tuple[str, ...] = ()  # files that were skipped
    leftovers: tuple[str, ...] = ()  # files of systems and tools, not read
    other_splits: tuple[str, ...] = ()  # images of splits that are neither train nor test, not read
    other_files: tuple[str, ...] = ()  # files outside the folders of images, not read
    extents: tuple[Extent, ...] = ()  # of the values before scaling; () if they were whole numbers from 0 to 255
    preparation: Preparation | None = None  # already applied to `pixels`; None if they are as in the source
    is_resized: bool = False  # the reader resized pictures that had another size than its images

    def __len__(self) -> int:
        return len(self.labels)

    def row(self, index: int) -> str:
        """Return the name of the row at `index`; rows are counted from 1, without a table's header."""
        return self.names[index] if self.names else f"row {index + 1}"

    def prepared(self, preparation: Preparation | None, *, is_scaled: bool) -> "Raw":
        """Return the split as one that had that preparation when it was saved, scaled by a stated white or not."""
        extents = tuple(each._replace(is_stated=is_scaled or each.is_stated) for each in self.extents)
        return replace(self, preparation=preparation, extents=extents)
