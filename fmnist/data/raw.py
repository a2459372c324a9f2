"""Labelled images as a reader found them, before any cleaning: what all readers return and cleaning starts from."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fmnist.data.preparation import Preparation
from fmnist.data.scale import Extent

# What a table's label or pixel may say where its value is not known, in lower case and without surrounding blanks.
MISSING_WORDS = ("", "na", "n/a", "nan", "null", "none", "?")
NOT_READ = ("leftovers", "other_splits", "other_files")  # fields of Raw that list what was seen and not read


@dataclass(frozen=True)
class Raw:
    """One split of a data set, row for row as it was read.

    Shape: pixels uint8 [N, H, W]; missing bool [N, H, W]; labels str [N].
    """

    pixels: NDArray[np.uint8]  # 0 where missing
    labels: NDArray[np.str_]  # as written, without surrounding blanks; "" where there is none
    missing: NDArray[np.bool_] | None = None  # None where every pixel is known
    names: tuple[str, ...] | None = (
        None  # of rows that were files, relative to the folder given; None where rows are only numbered
    )
    classes: tuple[str, ...] = ()  # declared by the source, whether or not any row has them; () where it declares none
    ignored: tuple[str, ...] = ()  # columns that are neither label nor pixel
    unreadable: tuple[str, ...] = ()  # files that were skipped
    leftovers: tuple[str, ...] = ()  # files of systems and tools, not read
    other_splits: tuple[str, ...] = ()  # images of splits that are neither train nor test, not read
    other_files: tuple[str, ...] = ()  # files in no place where images are looked for, not read
    extents: tuple[
        Extent, ...
    ] = ()  # of the values before they became greys; () where they were whole numbers from 0 to 255
    preparation: Preparation | None = (
        None  # that `pixels` have been through; None where they are as the source had them
    )
    is_resized: bool = False  # the reader has already brought pictures of other sizes to 28 x 28

    def __len__(self) -> int:
        return len(self.labels)

    def row(self, index: int) -> str:
        """What a person calls the row at `index`; rows are counted from 1, a table's header not among them."""
        return self.names[index] if self.names else f"row {index + 1}"
