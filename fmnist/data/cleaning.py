"""Raw rows -> images fit to train on, and the CleaningReport: what each rule found and did."""

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from fmnist.data.scale import White

EXAMPLES = 8  # rows that a report names for each rule


class CleaningRules(BaseModel):
    """What becomes of rows that are not fit to train on: the `[cleaning]` section of a study. Every rule counts what it
    finds.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    white: White | None = None  # in the files; None: 255, in pictures of 16 bits 65,535
    unreadable: Literal["error", "skip"] = "error"  # pictures that cannot be opened
    missing_labels: Literal["drop", "error"] = "drop"
    unknown_labels: Literal["drop", "error"] = (
        "drop"  # labels outside `classes`, or in the test split those that train does not have
    )
    most_missing: Annotated[float, Field(ge=0, le=1)] = 0.5  # an image with a larger share of missing pixels is dropped
    missing_pixels: Literal["zero", "median", "error"] = "zero"  # the median is that of the class's pixel
    blank: Literal["drop", "keep"] = "drop"  # images of one grey
    conflicts: Literal["drop", "keep"] = "drop"  # the same image under two labels: every copy
    duplicates: Literal["drop", "keep"] = "drop"  # exact copies within train: all but the first
    leaks: Literal["drop", "keep"] = "drop"  # images of train that are also in test: from train
    classes: Annotated[tuple[str, ...], Field(strict=False)] = ()  # the labels to keep; () for all that train has
    rename: dict[str, str] = {}  # label as written -> class name; two labels may become one class


class Caught(BaseModel):
    """What one rule found. An image that an earlier rule dropped is not counted again."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rule: str  # the name of a CleaningRules field, or of one of Raw's that list what was not read
    action: str  # in words: "dropped", "filled with the median of the class's pixel", "kept", "not read"
    train: int  # images
    test: int
    examples: tuple[str, ...]  # the first rows: "row 12", "Shirt/a.png"; those of the test split as "test row 3"


@dataclass(frozen=True)
class CaughtPictures:
    """The first images that a rule caught, as they were read.

    Shape: pixels uint8 [K, H, W]; missing bool [K, H, W], None where no pixel was.
    """

    pixels: NDArray[np.uint8]
    missing: NDArray[np.bool_] | None
    names: tuple[str, ...]  # of the rows


class CleaningReport(BaseModel):
    """What was read, what each rule found and did, what is left. Every rule of a study is listed, also with a count of
    0.

    For each split, what was read less what was skipped and dropped is what was kept; what was not read is in none of
    these.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    train_read: int
    train_kept: int
    test_read: int  # 0 where no test split was given
    test_kept: int
    held_out: (
        int  # images taken out of train as test split, where none was given; among train_kept they are not counted
    )
    caught: tuple[Caught, ...]
    ignored_columns: tuple[str, ...] = ()
    resized: bool = False  # images had another size than 28 x 28, or not all the same

    @property
    def is_clean(self) -> bool:
        """Whether no rule found anything."""
        return not any(one.train or one.test for one in self.caught)
