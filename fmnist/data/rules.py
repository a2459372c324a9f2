"""The cleaning rules, one function each, in the order in which they are applied: what each finds, and what it does
about it.

Each takes the rows that the rules before it have left. The test split loses only what cannot be scored, an image
without a known label or with hardly a pixel: whatever else is odd there is counted and stays, for a test made easier is
no test.
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
Pair = tuple[Rows, ...]  # of train, and of test where there is one


@dataclass
class Split:
    """A split on its way through the rules; `labels` and `pixels` have all rows of `raw`, `rows` says which of them are
    still in.
    """

    raw: Raw
    labels: NDArray[np.str_]
    pixels: NDArray[np.uint8]
    rows: Rows
    where: str  # its file or folder
    blind: NDArray[np.uint8] | None = (
        None  # pixels filled without looking at the labels, where `pixels` were filled by class
    )

    def where_true(self, condition: NDArray[np.bool_]) -> Rows:
        """The rows still in for which the condition, given for each of them, holds."""
        return self.rows[condition]

    def drop(self, rows: Rows) -> None:
        """They are no longer in."""
        self.rows = np.setdiff1d(self.rows, rows, assume_unique=True)


@dataclass
class Work:
    """Both splits and the rules they go through; without a test split, one is held out of train later."""

    train: Split
    test: Split | None
    rules: CleaningRules
    classes: tuple[str, ...]  # that must come out, in the order of their codes

    @property
    def splits(self) -> list[Split]:
        """Those that there are."""
        return [split for split in (self.train, self.test) if split]


class Found(NamedTuple):
    """What a rule found: rows of either split, and what became of them, in words."""

    rule: str
    action: str
    train: Rows
    test: Rows = NONE


def missing_labels(work: Work) -> Found:
    """Images without a label are out."""
    return _dropped(work, "missing_labels", lambda split: split.labels[split.rows] == "", "has no label")


def unknown_labels(work: Work) -> Found:
    """Images are out whose label is not one of the study's classes or, in test, not one of train's."""

    def unknown(split: Split) -> NDArray[np.bool_]:
        return np.asarray(~np.isin(split.labels[split.rows], work.classes))

    first = next(
        (str(split.labels[split.rows][unknown(split)][0]) for split in work.splits if unknown(split).any()), ""
    )
    complaint = f"has a label that is no class of train, {first!r} ({nearest_class(first, work.classes).rstrip('.')})"
    return _dropped(work, "unknown_labels", unknown, complaint)


def most_missing(work: Work) -> Found:
    """Images are out of which a larger share of pixels is missing than the study allows."""

    def mostly_missing(split: Split) -> NDArray[np.bool_]:
        if split.raw.missing is None:
            return np.zeros(len(split.rows), np.bool_)
        return np.asarray(split.raw.missing[split.rows].mean(axis=(1, 2)) > work.rules.most_missing)

    return _dropped(work, "most_missing", mostly_missing)


def missing_pixels(work: Work) -> Found:
    """No pixel is missing any more."""
    found = _in_each(work, _incomplete)
    if work.rules.missing_pixels == "error":
        _refuse(work, "missing_pixels", found, "lacks pixels")
    if work.rules.missing_pixels == "median":
        _fill(work)
    action = {"median": "filled with the class's median", "zero": "filled with 0", "error": "refused"}[
        work.rules.missing_pixels
    ]
    return Found("missing_pixels", action, *found)


def blank(work: Work) -> Found:
    """Images of a single grey are out of train."""

    def of_one_grey(split: Split) -> NDArray[np.bool_]:
        pixels = split.pixels[split.rows]
        return np.asarray(pixels.min(axis=(1, 2)) == pixels.max(axis=(1, 2)))

    return _out_of_train(work, "blank", _in_each(work, of_one_grey))


def conflicts(work: Work) -> Found:
    """Images that are in train under two labels are out of it, every copy: nobody can say which label is right."""

    def contradicted(split: Split) -> Rows:
        return _sorted(row for copies in _copies(split) if len(set(split.labels[copies])) > 1 for row in copies)

    return _out_of_train(work, "conflicts", tuple(contradicted(split) for split in work.splits))


def duplicates(work: Work) -> Found:
    """Of exact copies under one label, only the first is in train."""

    def repeated(split: Split) -> Rows:
        return _sorted(row for copies in _copies(split) if len(set(split.labels[copies])) == 1 for row in copies[1:])

    return _out_of_train(work, "duplicates", tuple(repeated(split) for split in work.splits))


def leaks(work: Work) -> Found:
    """Images of the test split are not in train: a network could know them by heart."""
    assert work.test, "the test split is given or held out by now"
    train, test = (dict(zip(split.rows.tolist(), digests(split), strict=True)) for split in work.splits)
    shared = set(train.values()) & set(test.values())
    found = tuple(_sorted(row for row, digest in split.items() if digest in shared) for split in (train, test))
    return _out_of_train(work, "leaks", found)


def digests(split: Split) -> list[bytes]:
    """A digest of each image that is still in: the same for the same pixels."""
    return [blake2b(image, digest_size=16).digest() for image in np.ascontiguousarray(split.pixels[split.rows])]


def _in_each(work: Work, condition: Callable[[Split], NDArray[np.bool_]]) -> Pair:
    return tuple(split.where_true(condition(split)) for split in work.splits)


def _dropped(work: Work, rule: str, condition: Callable[[Split], NDArray[np.bool_]], complaint: str = "") -> Found:
    found = _in_each(work, condition)
    if getattr(work.rules, rule) == "error":
        _refuse(work, rule, found, complaint)
    for split, rows in zip(work.splits, found, strict=True):
        split.drop(rows)
    return Found(rule, "dropped", *found)


def _out_of_train(work: Work, rule: str, found: Pair) -> Found:
    drop = getattr(work.rules, rule) == "drop"
    if drop:
        work.train.drop(found[0])
    return Found(rule, "dropped from train" if drop else "kept", *found)


def _refuse(work: Work, rule: str, found: Pair, complaint: str) -> None:
    for split, rows in zip(work.splits, found, strict=True):
        if len(rows):
            others = f" and {len(rows) - 1:,} more" if len(rows) > 1 else ""
            raise FmnistError(
                f'{split.where}: {split.raw.row(int(rows[0]))} {complaint}{others}, and cleaning.{rule} is "error". '
                "Mend the data, or let the rule clean them."
            )


def _incomplete(split: Split) -> NDArray[np.bool_]:
    if split.raw.missing is None:
        return np.zeros(len(split.rows), np.bool_)
    return np.asarray(split.raw.missing[split.rows].any(axis=(1, 2)))


def _fill(work: Work) -> None:
    train, test = work.train, work.test
    if not len(train.rows):
        return  # an error soon: there is no class
    if all(split.raw.missing is None for split in work.splits):
        return
    known = train.pixels[train.rows], _missing(train)
    of_all_classes = median_image(*known)
    if known[1].any():
        # An image that is to be scored must not carry its class's median: on validation that was worth 0.8 points of
        # F1.
        train.blind = _replaced(train, np.where(known[1], of_all_classes, known[0]))
        train.pixels = _replaced(train, filled_by_class(*known, train.labels[train.rows]))
    if test and (gaps := _missing(test)).any():
        test.pixels = _replaced(test, np.where(gaps, of_all_classes, test.pixels[test.rows]))


def _missing(split: Split) -> NDArray[np.bool_]:
    return (
        np.zeros_like(split.pixels[split.rows], np.bool_)
        if split.raw.missing is None
        else split.raw.missing[split.rows]
    )


def _replaced(split: Split, images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    pixels = split.pixels.copy()
    pixels[split.rows] = images
    return pixels


def _copies(split: Split) -> list[list[int]]:
    """Rows of the same image, for each image that is there more than once."""
    rows_of: dict[bytes, list[int]] = defaultdict(list)
    for row, digest in zip(split.rows.tolist(), digests(split), strict=True):
        rows_of[digest].append(row)
    return [rows for rows in rows_of.values() if len(rows) > 1]


def _sorted(rows: Iterable[int]) -> Rows:
    return np.array(sorted(rows), np.int64)
