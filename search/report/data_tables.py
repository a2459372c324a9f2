"""A data set in tables and sentences: what cleaning found, the classes, the pixels. No torch."""

from collections.abc import Iterator, Sequence

from fmnist.data.cleaning import Caught, CleaningReport
from fmnist.data.summary import ClassSummary, DataSummary
from search.study.records import DataRecord
from search.terminal.table import Bar, Mark, Row, Table
from search.terminal.wording import counted

# Field of CleaningRules, or field of Raw that lists what was not read -> what it finds.
RULES = {
    "unreadable": "cannot be opened",
    "leftovers": "of systems and tools",
    "other_splits": "of another split",
    "other_files": "of no class folder",
    "missing_labels": "no label",
    "unknown_labels": "no known class",
    "missing_pixels": "some pixels missing",
    "most_missing": "most pixels missing",
    "blank": "one colour all over",
    "conflicts": "one image, two labels",
    "duplicates": "exact copies",
    "leaks": "also in test",
}
EXAMPLES_WIDTH = 24  # characters for all examples, if there is more than one
LONGEST_EXAMPLE = 24  # last characters of a file's name; report.json has the whole name
CLASSES_SHOWN = 30  # with more, only the ends
END = 10  # classes at each end
LONGEST_BAR = 20  # characters for the largest class


def rule_in_words(rule: str) -> str:
    """Return what a rule finds: "exact copies" for "duplicates"."""
    return RULES.get(rule, rule.replace("_", " "))


def cleaning_table(report: CleaningReport) -> Table:
    """Return a table of what each rule found and did, between the images read and the images kept."""
    rows: list[Row] = [("images read", "", *_both(report.train_read, report.test_read), "", "")]
    rows += [_caught_row(caught) for caught in report.caught]
    rows += [("held out for test", "", f"{report.held_out:,}", "", "", "")] if report.held_out else []
    rows.append(("kept", "", *_both(report.train_kept, report.test_kept), "", ""))
    marks: dict[tuple[int, int], Mark] = {(len(rows) - 1, j): "strong" for j in (0, 2, 3)}
    for i, caught in enumerate(report.caught, start=1):
        marks |= {(i, j): "alarm" for j, count in ((2, caught.train), (3, caught.test)) if count}
    columns = ("found", "rule", "train", "test", "then", "examples")
    summary = "No rule found anything." if report.is_clean else "Rows are counted from 1, without the header."
    return Table(
        "Cleaning", columns, rows, " ".join([summary, *_notes(report)]), frozenset({0, 1, 4, 5}), marks, id="cleaning"
    )


def cleaning_in_brief(report: CleaningReport) -> Table:
    """Return the cleaning table, or a single sentence if the data are clean."""
    if not report.is_clean:
        return cleaning_table(report)
    test = f" and {report.test_read:,} test" if report.test_read else ""
    summary = f"No rule found anything among {report.train_read:,} training{test} images."
    return Table("Cleaning", caption=" ".join([summary, *_notes(report)]), id="cleaning")


def _both(train: int, test: int) -> tuple[str, str]:
    return f"{train:,}", f"{test:,}" if test else "-"


def _caught_row(caught: Caught) -> Row:
    counts = (f"{count:,}" if count else "·" for count in (caught.train, caught.test))
    action = caught.action if caught.train or caught.test else ""
    return rule_in_words(caught.rule), caught.rule, *counts, action, _examples(caught)


def _examples(caught: Caught) -> str:
    names = [name if len(name) <= LONGEST_EXAMPLE else f"...{name[3 - LONGEST_EXAMPLE :]}" for name in caught.examples]
    names = [*names[:1], *(name.removeprefix("row ") for name in names[1:])]
    while len(names) > 1 and len(", ".join(names)) > EXAMPLES_WIDTH:
        names.pop()
    return ", ".join([*names, "..."] if len(names) < caught.train + caught.test else names)


def _notes(report: CleaningReport) -> Iterator[str]:
    if report.held_out:
        yield f"The data have no test split: {counted(report.held_out, 'image')} of train were held out for it."
    if report.ignored_columns:
        yield f"Columns ignored: {', '.join(report.ignored_columns)}."
    if report.resized:
        manner = "scaled to fit" if report.scaled_to_fit else "resized"
        yield f"Images were {manner} to {report.size.dimensions} pixels."
    if report.colourless:
        yield "No training image has a colour: its three channels are equal."
    elif report.channels > 1:
        yield "Images are in colour."


def cleaning_sentences(report: CleaningReport) -> list[str]:
    """Return a sentence for each rule that found something, and for each other change to the images."""
    sentences = [
        f"{rule_in_words(caught.rule).capitalize()} ({caught.rule}): {_images(caught)}, {caught.action}."
        for caught in report.caught
        if caught.train or caught.test
    ]
    return [*sentences, *_notes(report)]


def _images(caught: Caught) -> str:
    noun = "file" if caught.rule in ("leftovers", "other_files") else "image"
    counts = [
        counted(count, f"{split} {noun}")
        for count, split in ((caught.train, "training"), (caught.test, "test"))
        if count
    ]
    return " and ".join(counts)


def kept_warnings(report: CleaningReport) -> list[str]:
    """Return the warnings about images that were found and kept, so that a network is tested on what it trained on."""
    kept = {caught.rule: caught.train for caught in report.caught if caught.action == "kept"}
    warnings = []
    if leaks := kept.get("leaks"):
        leaked = counted(leaks, "training image")
        warnings.append(f"Also in the test split, and kept: {leaked}. The test score is too high.")
    if copies := kept.get("duplicates"):
        beginning = f"Copies of other training images, and kept: {copies:,}."
        warnings.append(f"{beginning} Some may be in both train and validation, and make validation scores too high.")
    return warnings


def data_rows(data: DataRecord) -> list[Row]:
    """Return the rows, of two columns, that identify the images of a study."""
    test = "" if data.test is None else f", {data.test:,} test"
    images = f"{data.train:,} train, {data.valid:,} validation{test}"
    rows: list[Row] = [("data", data.name), ("images", images), ("train SHA-256", data.fingerprint)]
    return [*rows, ("test SHA-256", data.test_fingerprint)] if data.test_fingerprint else rows


def balance_table(summary: DataSummary) -> Table:
    """Return a table of each class's images and brightness; of many classes, the largest and the smallest only."""
    classes = list(summary.classes)
    shown: list[ClassSummary | None] = [*classes]
    if len(classes) > CLASSES_SHOWN:
        classes.sort(key=lambda entry: entry.train, reverse=True)
        shown = [*classes[:END], None, *classes[-END:]]  # None: the classes between
    most = max(entry.share for entry in classes) or 1.0
    rows = [_between_row(classes[END:-END]) if entry is None else _class_row(entry, most) for entry in shown]
    untested = {entry.name for entry in classes if summary.test and not entry.test}
    marks: dict[tuple[int, int], Mark] = {
        (i, 4): "alarm" for i, entry in enumerate(shown) if entry is not None and entry.name in untested
    }
    columns = ("class", "train", "share", "", "test", "brightness")
    return Table("Classes", columns, rows, _balance_caption(summary, len(untested)), frozenset({0, 3}), marks)


def _class_row(entry: ClassSummary, most: float) -> Row:
    share = Bar(entry.share / most, LONGEST_BAR)
    return entry.name, f"{entry.train:,}", _percent(entry.share), share, f"{entry.test:,}", _grey(entry.brightness)


def _grey(brightness: float | None) -> str:
    return "-" if brightness is None else f"{brightness:.0f}"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _between_row(classes: Sequence[ClassSummary]) -> Row:
    train, test, share = (sum(getattr(entry, name) for entry in classes) for name in ("train", "test", "share"))
    return f"({len(classes)} classes between)", f"{train:,}", _percent(share), "", f"{test:,}", ""


def _balance_caption(summary: DataSummary, untested: int) -> str:
    sizes = [entry.train for entry in summary.classes]
    if not all(sizes):
        ratio = f"{sizes.count(0)} of {len(sizes)} classes have no training image."
    elif max(sizes) == min(sizes):
        ratio = f"All {len(sizes)} classes have the same number of training images."
    else:
        ratio = (
            f"The largest of {len(sizes)} classes has {max(sizes) / min(sizes):.1f} times the training images of the "
            "smallest."
        )
    missing = f" Without a test image: {untested} of {len(sizes)} classes." if untested else ""
    brightness = "Brightness is the mean of the pixels of a class's training images, from 0, black, to 255, white."
    return f"{ratio}{missing} {brightness}"


def pixel_table(summary: DataSummary) -> Table:
    """Return a table that summarises the pixel values of the training images."""
    title = "Pixels"
    if (pixels := summary.pixels) is None:
        return Table(title, caption="There is no training image.")
    columns = ("mean", "standard deviation", "lowest", "highest", "black", "white")
    row = (
        f"{pixels.mean:.1f}",
        f"{pixels.sd:.1f}",
        str(pixels.low),
        str(pixels.high),
        _percent(pixels.black),
        _percent(pixels.white),
    )
    caption = (
        f"Of {counted(summary.train, 'training image')}, from 0, black, to 255, white. Black and white: share of "
        "pixels at either end."
    )
    return Table(title, columns, [row], caption, frozenset())
