"""What there is to say of a data set: what cleaning found in it, its classes, its pixels, as tables and in sentences.
No torch.
"""

from collections.abc import Iterator, Sequence

from fmnist.data.cleaning import Caught, CleaningReport
from fmnist.data.images import SIDE
from fmnist.data.summary import ClassSummary, DataSummary
from search.study.records import DataRecord
from search.terminal.table import Bar, Mark, Row, Table
from search.terminal.wording import counted

# Field of CleaningRules, or of Raw that lists what was not read -> what it finds.
RULES = {
    "unreadable": "cannot be opened",
    "leftovers": "of systems and tools",
    "other_splits": "of another split",
    "other_files": "of no class folder",
    "missing_labels": "no label",
    "unknown_labels": "no known class",
    "missing_pixels": "some pixels missing",
    "most_missing": "most pixels missing",
    "blank": "one grey all over",
    "conflicts": "one image, two labels",
    "duplicates": "exact copies",
    "leaks": "also in test",
}
EXAMPLES_WIDTH = 24  # characters that examples may take, if there is more than one
LONGEST_EXAMPLE = 24  # characters of a file's name, its end; report.json has it whole
CLASSES_SHOWN = 30  # with more, only the ends
END = 10  # classes at each end
LONGEST_BAR = 20  # characters of the largest class


def rule_in_words(rule: str) -> str:
    """What the rule of that name finds: "exact copies" of "duplicates"."""
    return RULES.get(rule, rule.replace("_", " "))


def cleaning_table(report: CleaningReport) -> Table:
    """Every rule with what it found and did, between what was read and what was kept."""
    rows: list[Row] = [("images read", "", *_both(report.train_read, report.test_read), "", "")]
    rows += [_caught(one) for one in report.caught]
    rows += [("held out for test", "", f"{report.held_out:,}", "", "", "")] if report.held_out else []
    rows.append(("kept", "", *_both(report.train_kept, report.test_kept), "", ""))
    marks: dict[tuple[int, int], Mark] = {(len(rows) - 1, j): "strong" for j in (0, 2, 3)}
    for i, one in enumerate(report.caught, start=1):
        marks |= {(i, j): "alarm" for j, count in ((2, one.train), (3, one.test)) if count}
    columns = ("found", "rule", "train", "test", "then", "examples")
    told = "No rule found anything." if report.is_clean else "Rows are counted from 1, without the header."
    return Table(
        "Cleaning", columns, rows, " ".join([told, *_notes(report)]), frozenset({0, 1, 4, 5}), marks, id="cleaning"
    )


def cleaning_in_brief(report: CleaningReport) -> Table:
    """The same table; of clean data, one sentence."""
    if not report.is_clean:
        return cleaning_table(report)
    test = f" and {report.test_read:,} test" if report.test_read else ""
    told = f"No rule found anything among {report.train_read:,} training{test} images."
    return Table("Cleaning", caption=" ".join([told, *_notes(report)]), id="cleaning")


def _both(train: int, test: int) -> tuple[str, str]:
    return f"{train:,}", f"{test:,}" if test else "-"


def _caught(one: Caught) -> Row:
    found = (f"{count:,}" if count else "·" for count in (one.train, one.test))
    action = one.action if one.train or one.test else ""
    return rule_in_words(one.rule), one.rule, *found, action, _examples(one)


def _examples(one: Caught) -> str:
    names = [name if len(name) <= LONGEST_EXAMPLE else f"...{name[3 - LONGEST_EXAMPLE :]}" for name in one.examples]
    names = [*names[:1], *(name.removeprefix("row ") for name in names[1:])]
    while len(names) > 1 and len(", ".join(names)) > EXAMPLES_WIDTH:
        names.pop()
    return ", ".join([*names, "..."] if len(names) < one.train + one.test else names)


def _notes(report: CleaningReport) -> Iterator[str]:
    if report.held_out:
        yield f"No test split was given: {counted(report.held_out, 'image')} of train were held out as one."
    if report.ignored_columns:
        yield f"Columns ignored: {', '.join(report.ignored_columns)}."
    if report.resized:
        yield f"Images were brought to {SIDE} x {SIDE} pixels."


def cleaning_sentences(report: CleaningReport) -> list[str]:
    """A sentence on each rule that found something, and on whatever else was done to the images."""
    found = [
        f"{rule_in_words(one.rule).capitalize()} ({one.rule}): {_images(one)}, {one.action}."
        for one in report.caught
        if one.train or one.test
    ]
    return [*found, *_notes(report)]


def _images(one: Caught) -> str:
    what = "file" if one.rule in ("leftovers", "other_files") else "image"
    said = [
        counted(count, f"{split} {what}") for count, split in ((one.train, "training"), (one.test, "test")) if count
    ]
    return " and ".join(said)


def kept_warnings(report: CleaningReport) -> list[str]:
    """Why scores flatter: images that a rule found and was told to keep, so that a network is asked what it was trained
    on.
    """
    kept = {one.rule: one.train for one in report.caught if one.action == "kept"}
    found = []
    if leaks := kept.get("leaks"):
        found.append(
            f"Also in the test split, and kept: {counted(leaks, 'training image')}. The test score is flattered."
        )
    if copies := kept.get("duplicates"):
        said = f"Copies of other training images, and kept: {copies:,}."
        found.append(f"{said} Some may be in train and validation at once, and flatter the validation scores.")
    return found


def data_rows(data: DataRecord) -> list[Row]:
    """Which images a study is about, for a table of two columns."""
    test = "" if data.test is None else f", {data.test:,} test"
    images = f"{data.train:,} train, {data.valid:,} validation{test}"
    rows: list[Row] = [("data", data.name), ("images", images), ("train SHA-256", data.fingerprint)]
    return [*rows, ("test SHA-256", data.test_fingerprint)] if data.test_fingerprint else rows


def balance_table(summary: DataSummary) -> Table:
    """How many images each class has, and how bright they are; of very many classes, the largest and the smallest."""
    classes = list(summary.classes)
    shown: list[ClassSummary | None] = [*classes]
    if len(classes) > CLASSES_SHOWN:
        classes.sort(key=lambda one: one.train, reverse=True)
        shown = [*classes[:END], None, *classes[-END:]]  # None: those between
    most = max(one.share for one in classes) or 1.0
    rows = [_between(classes[END:-END]) if one is None else _class(one, most) for one in shown]
    untested = {one.name for one in classes if summary.test and not one.test}
    marks: dict[tuple[int, int], Mark] = {
        (i, 4): "alarm" for i, one in enumerate(shown) if one is not None and one.name in untested
    }
    columns = ("class", "train", "share", "", "test", "brightness")
    return Table("Classes", columns, rows, _balance(summary, len(untested)), frozenset({0, 3}), marks)


def _class(one: ClassSummary, most: float) -> Row:
    share = Bar(one.share / most, LONGEST_BAR)
    return one.name, f"{one.train:,}", _percent(one.share), share, f"{one.test:,}", _grey(one.brightness)


def _grey(brightness: float | None) -> str:
    return "-" if brightness is None else f"{brightness:.0f}"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _between(classes: Sequence[ClassSummary]) -> Row:
    train, test, share = (sum(getattr(one, name) for one in classes) for name in ("train", "test", "share"))
    return f"({len(classes)} classes between)", f"{train:,}", _percent(share), "", f"{test:,}", ""


def _balance(summary: DataSummary, untested: int) -> str:
    sizes = [one.train for one in summary.classes]
    if not all(sizes):
        ratio = f"{sizes.count(0)} of {len(sizes)} classes have no training image."
    elif max(sizes) == min(sizes):
        ratio = f"All {len(sizes)} classes have the same number of training images."
    else:
        ratio = (
            f"The largest of {len(sizes)} classes has {max(sizes) / min(sizes):.1f} times the training images of "
            "the smallest."
        )
    missing = f" Without a test image: {untested} of {len(sizes)} classes." if untested else ""
    return f"{ratio}{missing} Brightness is the mean grey of a class's training images, from 0, black, to 255, white."


def pixel_table(summary: DataSummary) -> Table:
    """The grey values of the training images in a few figures."""
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
