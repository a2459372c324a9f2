"""Raw rows -> images fit to train on, by the rules of a study, with a report of what each rule found and did."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fmnist.data.cleaning import EXAMPLES, Caught, CaughtPictures, CleaningReport, CleaningRules
from fmnist.data.images import Images
from fmnist.data.labels import (
    class_order,
    composed,
    encode,
    nearest_class,
    require_classes,
    require_renamed,
    written_labels,
)
from fmnist.data.pictures import resized
from fmnist.data.preparation import (
    CENTRED,
    LETTERBOXED,
    Form,
    Preparation,
    as_image,
    merge_preparations,
    with_channels,
)
from fmnist.data.raw import NOT_READ, Raw
from fmnist.data.rules import (
    Finding,
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
from fmnist.size import DEFAULT_SIZE, Size

HELD_OUT = 1 / 7  # of the images, as in Fashion-MNIST, if no test split is given
HELD_OUT_SEED = 0


@dataclass(frozen=True)
class Cleaned:
    """Both splits, ready for training and test, and what cleaning did."""

    train: Images
    test: Images
    report: CleaningReport
    scoring_pixels: NDArray[np.uint8] | None  # of train, filled without using the labels; None if that changes nothing
    caught: Mapping[str, CaughtPictures]  # by the rule's name; only of rules that found something
    preparation: Preparation


def clean(
    train: Raw,
    test: Raw | None,
    rules: CleaningRules,
    *,
    where: tuple[str, str],
    form: Form = LETTERBOXED,
    size: Size = DEFAULT_SIZE,
) -> Cleaned:
    """Return both splits cleaned by the rules; without a test split, a seventh of the cleaned images is held out.

    `where` names the files of train and of test in errors. Rows that do not have that `form` and `size` yet are
    converted to them.

    Raises: FmnistError if a rule says so, the images are far too dark, a class has no image or too few, or there is
    only one class or more than 100.
    """
    require_renamed(rules.rename, [raw for raw in (train, test) if raw], where[0])
    for raw, name in zip((train, test), where, strict=True):
        require_scale(_extents(raw) if raw else (), name)
    work = _start(train, test, rules, where)
    findings = [rule(work) for rule in (missing_labels, unknown_labels, most_missing, missing_pixels)]
    for split in work.splits:
        split.pixels = _as_images(split, split.pixels, form, size)
        if split.scoring_pixels is not None:
            split.scoring_pixels = _as_images(split, split.scoring_pixels, form, size)
    findings += [rule(work) for rule in (blank, conflicts, duplicates)]
    require_classes(work.train.labels[work.train.rows], work.classes, where[0])
    if test is None:
        _hold_out(work)
    findings.append(leaks(work))
    train_images, test_images = (_images(split, work.classes) for split in work.splits)
    scoring_pixels = None if work.train.scoring_pixels is None else work.train.scoring_pixels[work.train.rows]
    preparation = merge_preparations(
        [train.preparation, test.preparation if test else None], form, size, _stated_white(train, test), where
    )
    report = _report(work, test, findings, form, size)
    return Cleaned(train_images, test_images, report, scoring_pixels, _caught(work, findings), preparation)


def _extents(raw: Raw) -> tuple[Extent, ...]:
    return raw.extents or (extent_of(raw.pixels, BYTE),)


def _stated_white(train: Raw, test: Raw | None) -> float | None:
    """Return the white that the study states for tables and arrays."""
    raws = [raw for raw in (train, test) if raw and not raw.preparation]
    return next((extent.white for raw in raws for extent in raw.extents if extent.is_stated), None)


def _start(train: Raw, test: Raw | None, rules: CleaningRules, where: tuple[str, str]) -> Work:
    if test and train.pixels.shape[1:3] != test.pixels.shape[1:3]:
        sizes = " and ".join(
            f"{raw.pixels.shape[1:3]} in {name}" for raw, name in zip((train, test), where, strict=True)
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


def _as_images(split: Split, pixels: NDArray[np.uint8], form: Form, size: Size) -> NDArray[np.uint8]:
    stored = split.raw.preparation
    has_form = stored is not None and stored.form == form
    if (has_form or form != CENTRED) and pixels.shape[1:] == size.shape:
        return pixels
    preparation = Preparation(form=form, **size._asdict())
    images = np.zeros((len(pixels), *size.shape), np.uint8)
    for row in split.rows:  # other rows were dropped
        picture = pixels[row]
        # An image of that form is only scaled, so that its margins stay as they are.
        images[row] = (
            with_channels(resized(picture, size.side), size.channels) if has_form else as_image(picture, preparation)
        )
    return images


def _hold_out(work: Work) -> None:
    train = work.train
    parts = stratified(
        encode(train.labels[train.rows], work.classes), work.classes, share=HELD_OUT, seed=HELD_OUT_SEED, into="test"
    )
    pixels = train.pixels if train.scoring_pixels is None else train.scoring_pixels
    work.test = replace(train, rows=train.rows[parts.held_out], pixels=pixels)
    train.rows = train.rows[parts.remaining]


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


def _report(work: Work, test: Raw | None, findings: Sequence[Finding], form: Form, size: Size) -> CleaningReport:
    train = work.train
    assert work.test
    return CleaningReport(
        train_read=len(train.raw) + len(train.raw.unreadable),
        train_kept=len(train.rows),
        test_read=len(test) + len(test.unreadable) if test else 0,
        test_kept=len(work.test.rows),
        held_out=0 if test else len(work.test.rows),
        caught=(*_skipped(train.raw, test), *(_count(finding, train.raw, test) for finding in findings)),
        ignored_columns=train.raw.ignored,
        resized=train.raw.is_resized or train.raw.pixels.shape[1:3] != (size.side, size.side),
        scaled_to_fit=form == LETTERBOXED,
        **size._asdict(),
        colourless=size.channels == 3 and all(_is_grey(train.pixels[row]) for row in train.rows),
    )


def _is_grey(image: NDArray[np.uint8]) -> bool:
    return bool((image == image[..., :1]).all())


def _skipped(train: Raw, test: Raw | None) -> list[Caught]:
    """Return the files that became no row: unreadable pictures and, if there are any, files that were not read."""
    unreadable = _count_files("unreadable", "skipped", train, test)
    not_read = [_count_files(rule, "not read", train, test) for rule in NOT_READ]
    return [unreadable, *(caught for caught in not_read if caught.examples)]


def _count_files(rule: str, action: str, train: Raw, test: Raw | None) -> Caught:
    train_files: tuple[str, ...] = getattr(train, rule)
    test_files: tuple[str, ...] = getattr(test, rule) if test else ()
    examples = (*train_files, *(f"test {name}" for name in test_files))[:EXAMPLES]
    return Caught(rule=rule, action=action, train=len(train_files), test=len(test_files), examples=examples)


def _count(finding: Finding, train: Raw, test: Raw | None) -> Caught:
    return Caught(
        rule=finding.rule,
        action=finding.action,
        train=len(finding.train),
        test=len(finding.test),
        examples=_names(finding, train, test),
    )


def _names(finding: Finding, train: Raw, test: Raw | None) -> tuple[str, ...]:
    """Return the names of the first rows; rows of a test split that was held out are rows of train's file."""
    train_names = [train.row(int(row)) for row in finding.train[:EXAMPLES]]
    test_names = [f"test {test.row(int(row))}" if test else train.row(int(row)) for row in finding.test[:EXAMPLES]]
    return tuple((train_names + test_names)[:EXAMPLES])


def _caught(work: Work, findings: Sequence[Finding]) -> dict[str, CaughtPictures]:
    return {finding.rule: _pictures(finding, work) for finding in findings if len(finding.train) + len(finding.test)}


def _pictures(finding: Finding, work: Work) -> CaughtPictures:
    assert work.test
    test = work.test.raw
    train_rows = finding.train[:EXAMPLES]
    chosen = [(work.train.raw, train_rows), (test, finding.test[: EXAMPLES - len(train_rows)])]
    pixels = [raw.pixels[rows] for raw, rows in chosen]
    missing = [
        np.zeros(found.shape[:3], np.bool_) if raw.missing is None else raw.missing[rows]
        for found, (raw, rows) in zip(pixels, chosen, strict=True)
    ]
    if len({found.ndim for found in pixels}) > 1:  # one split is grey and the other in colour
        pixels = [np.repeat(found[..., None], 3, axis=3) if found.ndim == 3 else found for found in pixels]
    return CaughtPictures(
        np.concatenate(pixels),
        np.concatenate(missing),
        _names(finding, work.train.raw, None if test is work.train.raw else test),
    )
