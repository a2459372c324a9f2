import io
import re

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from fmnist.data.cleaning import CleaningReport
from fmnist.data.summary import ClassSummary, DataSummary, PixelSummary
from search.report.data_tables import (
    balance_table,
    cleaning_in_brief,
    cleaning_sentences,
    cleaning_table,
    kept_warnings,
    pixel_table,
)
from search.report.render import print_table, table_to_markdown
from search.terminal.table import Bar, Table
from tests.search.sample import caught, cleaned


def summary(train: list[int], test: list[int], names: list[str] | None = None) -> DataSummary:
    names = names or [f"class {i}" for i in range(len(train))]
    classes = tuple(
        ClassSummary(name=name, train=a, test=b, share=a / max(1, sum(train)), brightness=40.0 if a else None)
        for name, a, b in zip(names, train, test, strict=True)
    )
    pixels = PixelSummary(mean=72.94, sd=90.02, low=0, high=255, black=0.502, white=0.0081)
    return DataSummary(train=sum(train), test=sum(test), classes=classes, pixels=pixels if sum(train) else None)


def printed(table: Table, width: int = 80) -> str:
    screen = io.StringIO()
    print_table(table, Console(file=screen, width=width))
    return screen.getvalue()


def columns_of(table: Table) -> set[int]:
    """Return the numbers of cells in the lines of the table in Markdown; escaped bars are not borders."""
    lines = [line for line in table_to_markdown(table) if line.startswith("| ")]
    assert len(lines) == len(table.rows) + 2
    return {len(re.findall(r"(?<!\\)(?:\\\\)*\|", line)) - 1 for line in lines}


def test_the_rules_are_between_images_read_and_images_kept() -> None:
    table = cleaning_table(
        cleaned(caught("missing_labels", 12, 3, "row 17", "test row 5"), caught("duplicates"), caught("leaks", 0, 1))
    )
    assert table.rows == [
        ("images read", "", "60,000", "10,000", "", ""),
        ("no label", "missing_labels", "12", "3", "dropped", "row 17, test row 5, ..."),
        ("exact copies", "duplicates", "·", "·", "", ""),
        ("also in test", "leaks", "·", "1", "dropped", "..."),
        ("kept", "", "59,988", "9,996", "", ""),
    ]
    assert {cell for cell, mark in table.marks.items() if mark == "alarm"} == {(1, 2), (1, 3), (3, 3)}
    assert "counted from 1, without the header" in table.caption


def test_clean_data_are_one_sentence_in_brief() -> None:
    report = cleaned(caught("blank"), caught("leaks"))
    table = cleaning_in_brief(report)
    assert not table.rows
    assert table.caption == "No rule found anything among 60,000 training and 10,000 test images."
    assert [row[2:4] for row in cleaning_table(report).rows[1:3]] == [("·", "·")] * 2
    alone = cleaned(test_read=0, test_kept=1200, held_out=1200, ignored_columns=("id", "a|b"), resized=True)
    assert cleaning_in_brief(alone).caption == (
        "No rule found anything among 60,000 training images. The data have no test split: 1,200 images of train were "
        "held out for it. Columns ignored: id, a|b. Images were resized to 28 x 28 pixels."
    )
    dirty = cleaned(caught("blank", 1))
    assert cleaning_in_brief(dirty) == cleaning_table(dirty)


def test_a_held_out_test_split_is_shown() -> None:
    table = cleaning_table(cleaned(caught("blank", 1), train_kept=58_799, test_read=0, test_kept=1200, held_out=1200))
    assert table.rows[0][2:4] == ("60,000", "-")
    assert table.rows[-2:] == [("held out for test", "", "1,200", "", "", ""), ("kept", "", "58,799", "1,200", "", "")]
    assert "1,200 images of train were held out" in table.caption


def test_the_cleaning_table_fits_a_terminal() -> None:
    rules = (
        "unreadable",
        "missing_labels",
        "unknown_labels",
        "most_missing",
        "blank",
        "conflicts",
        "duplicates",
        "leaks",
    )
    long = tuple(f"Shirts of last season/IMG_2024_{i:06}.png" for i in range(8))
    catches = [caught(rule, 1200, 150, *long, action="dropped from train") for rule in rules]
    text = printed(
        cleaning_table(
            cleaned(*catches, caught("missing_pixels", 7, 8, "row 1,200", action="filled with the class's median"))
        )
    )
    assert max(map(len, text.splitlines())) <= 80
    assert all(rule in text for rule in rules)
    assert "one image, two labels" in text
    assert "…" not in text


def test_examples_are_few_and_short() -> None:
    many = caught("blank", 40, 0, *(f"row {i}" for i in range(1000, 1008)))
    deep = caught("leaks", 1, 0, "Shirts of last season/summer/IMG_2024.png")
    assert [row[5] for row in cleaning_table(cleaned(many, deep)).rows[1:3]] == [
        "row 1000, 1001, 1002, ...",
        "...n/summer/IMG_2024.png",
    ]


def test_sentences_only_state_what_was_found() -> None:
    report = cleaned(
        caught("missing_labels", 1, 3), caught("blank"), caught("duplicates", 40, action="kept"), resized=True
    )
    assert cleaning_sentences(report) == [
        "No label (missing_labels): 1 training image and 3 test images, dropped.",
        "Exact copies (duplicates): 40 training images, kept.",
        "Images were resized to 28 x 28 pixels.",
    ]


def test_warnings_are_for_images_found_and_kept_only() -> None:
    assert (
        kept_warnings(cleaned(caught("leaks", 5, 5), caught("duplicates", 3), caught("blank", 2, action="kept"))) == []
    )
    assert kept_warnings(cleaned(caught("leaks", action="kept"), caught("duplicates", action="kept"))) == []
    leak, copies = kept_warnings(
        cleaned(caught("duplicates", 1200, action="kept"), caught("leaks", 1, 1, action="kept"))
    )
    assert leak == "Also in the test split, and kept: 1 training image. The test score is too high."
    assert "1,200" in copies
    assert "validation" in copies


def test_classes_are_in_order_with_their_shares() -> None:
    table = balance_table(summary([30, 60, 10], [5, 0, 5], ["b", "a", "c"]))
    assert table.rows == [
        ("b", "30", "30.0 %", Bar(0.5, 20), "5", "40"),
        ("a", "60", "60.0 %", Bar(1.0, 20), "0", "40"),
        ("c", "10", "10.0 %", Bar(0.1 / 0.6, 20), "5", "40"),
    ]
    assert [line.count("█") for line in printed(table).splitlines()[3:6]] == [10, 20, 3]
    assert table.marks == {(1, 4): "alarm"}
    assert (
        "The largest of 3 classes has 6.0 times the training images of the smallest. Without a test image: 1 of 3"
        in table.caption
    )


def test_equal_and_empty_classes() -> None:
    assert "All 2 classes have the same number" in balance_table(summary([5, 5], [1, 1])).caption
    table = balance_table(summary([5, 0], [0, 0]))
    assert "1 of 2 classes have no training image" in table.caption
    assert table.rows[1] == ("class 1", "0", "0.0 %", Bar(0.0, 20), "0", "-")
    assert not table.marks, "without a test split no class is marked"


def test_many_classes_show_the_largest_and_the_smallest() -> None:
    table = balance_table(summary(list(range(1, 101)), [1] * 100))
    assert [row[0] for row in table.rows[:2]] == ["class 99", "class 98"]
    assert table.rows[10] == ("(80 classes between)", f"{sum(range(11, 91)):,}", "80.0 %", "", "80", "")
    assert [row[0] for row in table.rows[-2:]] == ["class 1", "class 0"]
    assert len(table.rows) == 21
    assert len(balance_table(summary([1] * 30, [1] * 30)).rows) == 30


def test_a_class_named_like_the_row_between_is_marked_alone() -> None:
    names = ["(80 classes between)", *(f"class {i}" for i in range(1, 100))]
    assert balance_table(summary(list(range(1, 101)), [0] + [1] * 99, names)).marks == {(20, 4): "alarm"}


def test_pixels() -> None:
    table = pixel_table(summary([5, 5], [1, 1]))
    assert table.rows == [("72.9", "90.0", "0", "255", "50.2 %", "0.8 %")]
    assert pixel_table(summary([0, 0], [0, 0])).caption == "There is no training image."


reports = st.builds(
    lambda catches, columns, held: cleaned(*catches, ignored_columns=tuple(columns), held_out=held),
    st.lists(
        st.builds(
            lambda rule, train, test, rows: caught(rule, train, test, *rows),
            st.sampled_from(["unreadable", "missing_pixels", "conflicts", "of a later version"]),
            st.integers(0, 10**6),
            st.integers(0, 10**6),
            st.lists(st.text(min_size=1), max_size=8),
        ),
        max_size=9,
    ),
    st.lists(st.text(), max_size=3),
    st.integers(0, 10**5),
)


@given(reports)
@settings(max_examples=50, deadline=None)
def test_any_cleaning_can_be_shown(report: CleaningReport) -> None:
    table = cleaning_table(report)
    assert printed(table)
    if table.rows:
        assert columns_of(table) == {6}
    assert len(cleaning_sentences(report)) >= sum(bool(rule.train or rule.test) for rule in report.caught)


@given(
    st.lists(
        st.tuples(st.text(min_size=1, max_size=30), st.integers(0, 10**5), st.integers(0, 10**5)),
        min_size=2,
        max_size=100,
    )
)
@settings(max_examples=50, deadline=None)
def test_any_classes_can_be_shown(classes: list[tuple[str, int, int]]) -> None:
    names, train, test = zip(*classes, strict=True)
    table = balance_table(summary(list(train), list(test), list(names)))
    assert printed(table)
    assert columns_of(table) == {6}
    if len(classes) > 30:
        shown = np.array([int(str(row[1]).replace(",", "")) for row in table.rows])
        assert shown.sum() == sum(train)
