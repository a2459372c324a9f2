"""Raw rows -> images fit to train on, by the rules of a study, with a report of what each rule found and did."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fmnist.data.cleaning import EXAMPLES, Caught, CaughtPictures, CleaningReport, CleaningRules
from fmnist.data.images import SIDE, Images
from fmnist.data.labels import (
    class_order,
    composed,
    encode,
    nearest_class,
    require_classes,
    require_renamed,
    written_labels,
)
from fmnist.data.preparation import RESIZED, Form, Preparation, as_image, joined
from fmnist.data.raw import NOT_READ, Raw
from fmnist.data.rules import (
    Found,
    Split,
    Work,
    blank,
    conflicts,
    duplicates,
    leaks,
    missing_labels,
    missing_pixels,
    most_missing,
    unknown_labels,
)
from fmnist.data.scale import BYTE, Extent, extent_of, require_scale
from fmnist.data.stratify import stratified
from fmnist.errors import FmnistError

HELD_OUT = 1 / 7  # of the images, as in Fashion-MNIST, where no test split is given
HELD_OUT_SEED = 0


@dataclass(frozen=True)
class Cleaned:
    """Both splits, ready for training and test, and what was done to get there."""

    train: Images
    test: Images
    report: CleaningReport
    blind: NDArray[np.uint8] | None  # train's pixels as one sees them who does not know the labels, where that differs
    caught: Mapping[str, CaughtPictures]  # by the rule's name; only of rules that found something
    preparation: Preparation


def clean(
    train: Raw, test: Raw | None, rules: CleaningRules, *, where: tuple[str, str], form: Form = RESIZED
) -> Cleaned:
    """Both splits with nothing in them that the rules forbid; without a test split, a seventh of the cleaned images is
    held out as one.

    `where` names the files of train and of test, for errors. Rows that are no images of that `form` yet become some.
    Raises: FmnistError where a rule says so, the images are far too dark, a class has no image or too few, or there is
    one class only or
        more than 100.
    """
    require_renamed(rules.rename, [raw for raw in (train, test) if raw], where[0])
    for raw, name in zip((train, test), where, strict=True):
        require_scale(_extents(raw) if raw else (), name)
    work = _start(train, test, rules, where)
    found = [rule(work) for rule in (missing_labels, unknown_labels, most_missing, missing_pixels)]
    for split in work.splits:
        split.pixels = _as_images(split, split.pixels, form)
        split.blind = None if split.blind is None else _as_images(split, split.blind, form)
    found += [rule(work) for rule in (blank, conflicts, duplicates)]
    require_classes(work.train.labels[work.train.rows], work.classes, where[0])
    if test is None:
        _hold_out(work)
    found.append(leaks(work))
    of_train, of_test = (_images(split, work.classes) for split in work.splits)
    blind = None if work.train.blind is None else work.train.blind[work.train.rows]
    stated = [
        extent.white
        for raw in (train, test)
        if raw and not raw.preparation
        for extent in raw.extents
        if extent.is_stated
    ]
    preparation = joined([train.preparation, test.preparation if test else None], form, next(iter(stated), None), where)
    return Cleaned(of_train, of_test, _report(work, test, found), blind, _caught(work, found), preparation)


def _extents(raw: Raw) -> tuple[Extent, ...]:
    return raw.extents or (extent_of(raw.pixels, BYTE),)


def _start(train: Raw, test: Raw | None, rules: CleaningRules, where: tuple[str, str]) -> Work:
    if test and train.pixels.shape[1:] != test.pixels.shape[1:]:
        sizes = " and ".join(
            f"{raw.pixels.shape[1:]} in {name}" for raw, name in zip((train, test), where, strict=True)
        )
        raise FmnistError(
            f"Train and test images must be of one size; they are {sizes}. Make them from the same pictures."
        )
    splits = [
        Split(raw, written_labels(raw.labels, rules.rename), raw.pixels, np.arange(len(raw)), name)
        for raw, name in zip((train, test), where, strict=True)
        if raw
    ]
    declared = written_labels(np.array(train.classes, np.str_), rules.rename)
    classes = tuple(dict.fromkeys(map(composed, rules.classes))) or class_order(
        declared.tolist(), np.unique(splits[0].labels).tolist()
    )
    return Work(splits[0], splits[1] if test else None, rules, classes)


def _as_images(split: Split, pixels: NDArray[np.uint8], form: Form) -> NDArray[np.uint8]:
    of = split.raw.preparation
    if (of and of.form == form) or (form == RESIZED and pixels.shape[1:] == (SIDE, SIDE)):
        return pixels
    images = np.zeros((len(pixels), SIDE, SIDE), np.uint8)
    for row in split.rows:  # the others are out
        images[row] = as_image(pixels[row], form)
    return images


def _hold_out(work: Work) -> None:
    train = work.train
    parts = stratified(
        encode(train.labels[train.rows], work.classes), work.classes, share=HELD_OUT, seed=HELD_OUT_SEED, into="test"
    )
    blind = train.pixels if train.blind is None else train.blind
    work.test = replace(train, rows=train.rows[parts.held_out], pixels=blind)
    train.rows = train.rows[parts.kept]


def _images(split: Split, classes: tuple[str, ...]) -> Images:
    images = Images(split.pixels[split.rows], encode(split.labels[split.rows], classes), classes)
    counts = np.bincount(images.labels, minlength=len(classes))
    if not counts.all():
        empty = classes[int(counts.argmin())]
        others = set(split.labels.tolist()) - {*classes, ""}
        raise FmnistError(
            f"Every class must have images in train and in test; {empty!r} has none in {split.where}. "
            f"{f'Other labels there: {nearest_class(empty, others)} ' if others else ''}"
            "Add images of it, or name the classes to keep with cleaning.classes."
        )
    return images


def _report(work: Work, test: Raw | None, found: Sequence[Found]) -> CleaningReport:
    train = work.train
    assert work.test
    return CleaningReport(
        train_read=len(train.raw) + len(train.raw.unreadable),
        train_kept=len(train.rows),
        test_read=len(test) + len(test.unreadable) if test else 0,
        test_kept=len(work.test.rows),
        held_out=0 if test else len(work.test.rows),
        caught=(*_left_out(train.raw, test), *(_named(one, train.raw, test) for one in found)),
        ignored_columns=train.raw.ignored,
        resized=train.raw.is_resized or train.raw.pixels.shape[1:] != (SIDE, SIDE),
    )


def _left_out(train: Raw, test: Raw | None) -> list[Caught]:
    """What became no row: pictures that cannot be opened and, where there is any, what was not read."""
    unreadable = _listed("unreadable", "skipped", train, test)
    return [unreadable, *(one for rule in NOT_READ if (one := _listed(rule, "not read", train, test)).examples)]


def _listed(rule: str, action: str, train: Raw, test: Raw | None) -> Caught:
    of_train: tuple[str, ...] = getattr(train, rule)
    of_test: tuple[str, ...] = getattr(test, rule) if test else ()
    examples = (*of_train, *(f"test {name}" for name in of_test))[:EXAMPLES]
    return Caught(rule=rule, action=action, train=len(of_train), test=len(of_test), examples=examples)


def _named(found: Found, train: Raw, test: Raw | None) -> Caught:
    names = _names(found, train, test)
    return Caught(rule=found.rule, action=found.action, train=len(found.train), test=len(found.test), examples=names)


def _names(found: Found, train: Raw, test: Raw | None) -> tuple[str, ...]:
    """The first rows by name; those of a test split that was held out are rows of the same file."""
    of_train = [train.row(int(row)) for row in found.train[:EXAMPLES]]
    of_test = [f"test {test.row(int(row))}" if test else train.row(int(row)) for row in found.test[:EXAMPLES]]
    return tuple((of_train + of_test)[:EXAMPLES])


def _caught(work: Work, found: Sequence[Found]) -> dict[str, CaughtPictures]:
    return {one.rule: _pictures(one, work) for one in found if len(one.train) + len(one.test)}


def _pictures(found: Found, work: Work) -> CaughtPictures:
    assert work.test
    test = work.test.raw
    of_train, of_test = found.train[:EXAMPLES], found.test[: EXAMPLES - len(found.train[:EXAMPLES])]
    chosen = [(work.train.raw, of_train), (test, of_test)]
    gaps = [
        np.zeros(raw.pixels[rows].shape, np.bool_) if raw.missing is None else raw.missing[rows] for raw, rows in chosen
    ]
    return CaughtPictures(
        np.concatenate([raw.pixels[rows] for raw, rows in chosen]),
        np.concatenate(gaps),
        _names(found, work.train.raw, None if test is work.train.raw else test),
    )
