"""The rules of cleaning that a study may set, and the CleaningReport: what each rule found and did."""

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from fmnist.data.scale import White
from fmnist.size import Channels, Side, Size

EXAMPLES = 8  # rows that a report names for each rule


class CleaningRules(BaseModel):
    """The `[cleaning]` section of a study: what to do with rows that are not fit to train on."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    white: White | None = None  # in the files; None means 255, or 65,535 in pictures of 16 bits
    unreadable: Literal["error", "skip"] = "error"  # pictures that cannot be opened
    missing_labels: Literal["drop", "error"] = "drop"
    # Labels outside `classes` and, in the test split, labels that train does not have.
    unknown_labels: Literal["drop", "error"] = "drop"
    most_missing: Annotated[float, Field(ge=0, le=1)] = 0.5  # an image with a larger share of missing pixels is dropped
    missing_pixels: Literal["zero", "median", "error"] = "zero"  # the median of that pixel over the image's class
    blank: Literal["drop", "keep"] = "drop"  # images of one grey
    conflicts: Literal["drop", "keep"] = "drop"  # the same image under two labels: every copy
    duplicates: Literal["drop", "keep"] = "drop"  # exact copies within train: all but the first
    leaks: Literal["drop", "keep"] = "drop"  # images of train that are also in test, dropped from train
    classes: Annotated[tuple[str, ...], Field(strict=False)] = ()  # the labels to keep; () keeps all labels of train
    rename: dict[str, str] = {}  # label as written -> class name; two labels may become one class


class Caught(BaseModel):
    """What one rule found. An image that an earlier rule dropped is not counted again."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rule: str  # a field of CleaningRules, or a field of Raw that lists files that were not read
    action: str  # in words: "dropped", "filled with the median of the class's pixel", "kept", "not read"
    train: int  # images
    test: int
    examples: tuple[str, ...]  # the first rows: "row 12", "Shirt/a.png"; rows of the test split as "test row 3"


@dataclass(frozen=True)
class CaughtPictures:
    """The first images that a rule caught, as they were read.

    Shape: pixels uint8 [K, H, W], in colour [K, H, W, 3]; missing bool [K, H, W], None if no pixel was missing.
    """

    pixels: NDArray[np.uint8]
    missing: NDArray[np.bool_] | None
    names: tuple[str, ...]  # of the rows


class CleaningReport(BaseModel):
    """What was read, what each rule found and did, and what was kept.

    Every rule of a study is listed, even if its count is 0. In each split, images kept = images read - skipped -
    dropped. Files that were not read are in none of these figures.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    train_read: int
    train_kept: int
    test_read: int  # 0 if no test split was given
    test_kept: int
    held_out: int  # images moved from train to test because no test split was given; not counted in train_kept
    caught: tuple[Caught, ...]
    ignored_columns: tuple[str, ...] = ()
    resized: bool = False  # some images had another size than `side`
    scaled_to_fit: bool = False  # those kept the ratio of their sides; older versions stretched them
    side: Side = 28  # of the images kept, in pixels
    channels: Channels = 1
    colourless: bool = False  # the three channels of every image are equal

    @property
    def size(self) -> Size:
        """Return the size of the images kept."""
        return Size(self.side, self.channels)

    @property
    def is_clean(self) -> bool:
        """Return whether no rule found anything."""
        return not any(caught.train or caught.test for caught in self.caught)
