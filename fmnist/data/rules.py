"""The cleaning rules, one function each, in the order in which they are applied.

Each rule sees the rows that earlier rules kept. The test split loses only images that cannot be scored, those without a
known label or with too few pixels. Other findings in test are counted and kept, because an easier test proves less.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from hashlib import blake2b
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fmnist.data.cleaning import CleaningRules
from fmnist.data.labels import nearest_class
from fmnist.data.missing import filled_by_class, median_image
from fmnist.data.raw import Raw
from fmnist.errors import FmnistError

Rows = NDArray[np.int64]
NONE: Rows = np.empty(0, np.int64)
Pair = tuple[Rows, ...]  # of train and, if there is one, of test


@dataclass
class Split:
    """A split while rules are applied; `labels` and `pixels` have all rows of `raw`, `rows` are those kept so far."""

    raw: Raw
    labels: NDArray[np.str_]
    pixels: NDArray[np.uint8]
    rows: Rows
    where: str  # its file or folder
    scoring_pixels: NDArray[np.uint8] | None = None  # filled without the labels, if `pixels` were filled by class

    def drop(self, rows: Rows) -> None:
        """Remove these rows."""
        self.rows = np.setdiff1d(self.rows, rows, assume_unique=True)


@dataclass
class Work:
    """Both splits and the rules of the study; without a test split, one is held out of train later."""

    train: Split
    test: Split | None
    rules: CleaningRules
    classes: tuple[str, ...]  # of the cleaned images, in the order of their codes

    @property
    def splits(self) -> list[Split]:
        """Return train and, if there is one, test."""
        return [split for split in (self.train, self.test) if split]


class Finding(NamedTuple):
    """The rows that a rule found in each split, and what it did with them, in words."""

    rule: str
    action: str
    train: Rows
    test: Rows = NONE


def missing_labels(work: Work) -> Finding:
    """Drop images without a label."""
    return _dropped(work, "missing_labels", lambda split: split.labels[split.rows] == "", "has no label")


def unknown_labels(work: Work) -> Finding:
    """Drop images whose label is not one of the study's classes or, in test, not one of train's."""

    def unknown(split: Split) -> NDArray[np.bool_]:
        return np.asarray(~np.isin(split.labels[split.rows], work.classes))

    first = next(
        (str(split.labels[split.rows][unknown(split)][0]) for split in work.splits if unknown(split).any()), ""
    )
    complaint = (
        f"has a label that is not a class of train, {first!r} ({nearest_class(first, work.classes).rstrip('.')})"
    )
    return _dropped(work, "unknown_labels", unknown, complaint)


def most_missing(work: Work) -> Finding:
    """Drop images with a larger share of missing pixels than the study allows."""

    def mostly_missing(split: Split) -> NDArray[np.bool_]:
        if split.raw.missing is None:
            return np.zeros(len(split.rows), np.bool_)
        return np.asarray(split.raw.missing[split.rows].mean(axis=(1, 2)) > work.rules.most_missing)

    return _dropped(work, "most_missing", mostly_missing)


def missing_pixels(work: Work) -> Finding:
    """Fill missing pixels."""
    rows = _in_each(work, _incomplete)
    if work.rules.missing_pixels == "error":
        _raise_first(work, "missing_pixels", rows, "has missing pixels")
    if work.rules.missing_pixels == "median":
        _fill(work)
    action = {"median": "filled with the class's median", "zero": "filled with 0", "error": "refused"}[
        work.rules.missing_pixels
    ]
    return Finding("missing_pixels", action, *rows)


def blank(work: Work) -> Finding:
    """Drop images of a single grey or colour from train."""

    def is_blank(split: Split) -> NDArray[np.bool_]:
        pixels = split.pixels[split.rows]
        low, high = pixels.min(axis=(1, 2)), pixels.max(axis=(1, 2))  # of each channel
        return np.asarray((low == high).all(axis=tuple(range(1, low.ndim))))

    return _drop_from_train(work, "blank", _in_each(work, is_blank))


def conflicts(work: Work) -> Finding:
    """Drop every copy of an image that has two labels in train: the right label is unknown."""

    def conflicting(split: Split) -> Rows:
        return _sorted(row for copies in _copies(split) if len(set(split.labels[copies])) > 1 for row in copies)

    return _drop_from_train(work, "conflicts", tuple(conflicting(split) for split in work.splits))


def duplicates(work: Work) -> Finding:
    """Drop exact copies under one label from train, all but the first."""

    def repeated(split: Split) -> Rows:
        return _sorted(row for copies in _copies(split) if len(set(split.labels[copies])) == 1 for row in copies[1:])

    return _drop_from_train(work, "duplicates", tuple(repeated(split) for split in work.splits))


def leaks(work: Work) -> Finding:
    """Drop images of the test split from train: a network could memorise them."""
    assert work.test, "the test split exists or was held out before"
    train, test = (dict(zip(split.rows.tolist(), digests(split), strict=True)) for split in work.splits)
    shared = set(train.values()) & set(test.values())
    rows = tuple(_sorted(row for row, digest in split.items() if digest in shared) for split in (train, test))
    return _drop_from_train(work, "leaks", rows)


def digests(split: Split) -> list[bytes]:
    """Return a digest of the pixels of each image kept so far.

    Where missing pixels were filled by class, of those that were filled without the labels: so copies stay equal.
    """
    pixels = split.pixels if split.scoring_pixels is None else split.scoring_pixels
    return [blake2b(image, digest_size=16).digest() for image in np.ascontiguousarray(pixels[split.rows])]


def _in_each(work: Work, condition: Callable[[Split], NDArray[np.bool_]]) -> Pair:
    """Return the rows for which `condition`, computed for the rows kept so far, is true."""
    return tuple(split.rows[condition(split)] for split in work.splits)


def _dropped(work: Work, rule: str, condition: Callable[[Split], NDArray[np.bool_]], complaint: str = "") -> Finding:
    rows_of_splits = _in_each(work, condition)
    if getattr(work.rules, rule) == "error":
        _raise_first(work, rule, rows_of_splits, complaint)
    for split, rows in zip(work.splits, rows_of_splits, strict=True):
        split.drop(rows)
    return Finding(rule, "dropped", *rows_of_splits)


def _drop_from_train(work: Work, rule: str, rows: Pair) -> Finding:
    drop = getattr(work.rules, rule) == "drop"
    if drop:
        work.train.drop(rows[0])
    return Finding(rule, "dropped from train" if drop else "kept", *rows)


def _raise_first(work: Work, rule: str, rows_of_splits: Pair, complaint: str) -> None:
    for split, rows in zip(work.splits, rows_of_splits, strict=True):
        if len(rows):
            others = f" and {len(rows) - 1:,} more" if len(rows) > 1 else ""
            raise FmnistError(
                f'{split.where}: {split.raw.row(int(rows[0]))} {complaint}{others}, and cleaning.{rule} is "error". '
                "Correct the data, or set the rule to another value."
            )


def _incomplete(split: Split) -> NDArray[np.bool_]:
    if split.raw.missing is None:
        return np.zeros(len(split.rows), np.bool_)
    return np.asarray(split.raw.missing[split.rows].any(axis=(1, 2)))


def _fill(work: Work) -> None:
    train, test = work.train, work.test
    if not len(train.rows):
        return  # cleaning fails later: there is no class
    if all(split.raw.missing is None for split in work.splits):
        return
    pixels, missing = train.pixels[train.rows], _missing(train)
    median = median_image(pixels, missing)
    if missing.any():
        # An image used for scoring must not contain its class's median: on validation that was worth 0.8 points of F1.
        train.scoring_pixels = _replaced(train, np.where(missing, median, pixels))
        train.pixels = _replaced(train, filled_by_class(pixels, missing, train.labels[train.rows]))
    if test and (test_missing := _missing(test)).any():
        test.pixels = _replaced(test, np.where(test_missing, median, test.pixels[test.rows]))


def _missing(split: Split) -> NDArray[np.bool_]:
    shape = split.pixels[split.rows].shape
    if split.raw.missing is None:
        return np.zeros(shape, np.bool_)
    missing = split.raw.missing[split.rows]
    return np.broadcast_to(missing.reshape(*missing.shape, *[1] * (len(shape) - 3)), shape)  # all channels of a pixel


def _replaced(split: Split, images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    pixels = split.pixels.copy()
    pixels[split.rows] = images
    return pixels


def _copies(split: Split) -> list[list[int]]:
    """Return the rows of each image that occurs more than once."""
    rows_of: dict[bytes, list[int]] = defaultdict(list)
    for row, digest in zip(split.rows.tolist(), digests(split), strict=True):
        rows_of[digest].append(row)
    return [rows for rows in rows_of.values() if len(rows) > 1]


def _sorted(rows: Iterable[int]) -> Rows:
    return np.array(sorted(rows), np.int64)
