import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from fmnist.data.clean import clean
from fmnist.data.cleaning import CleaningReport, CleaningRules
from fmnist.data.scale import BYTE, DEEP, Extent
from fmnist.errors import FmnistError
from tests.fmnist.data.raw_rows import WHERE, cleaned, counts, examples, gaps_in, raw


def test_clean_rows_are_not_changed() -> None:
    train = raw(["b", "a", "b", "a"])
    result = cleaned(train)
    np.testing.assert_array_equal(result.train.pixels, train.pixels)
    assert result.train.labels.tolist() == [1, 0, 1, 0]
    assert result.train.class_names == result.test.class_names == ("a", "b")
    assert result.report.is_clean
    assert not result.report.resized
    assert result.scoring_pixels is None
    assert result.caught == {}


@pytest.mark.parametrize(
    ("labels", "declared", "names"),
    [
        (["10", "9", "007", "9"], (), ("7", "9", "10")),
        (["10", "9", "x", "9"], (), ("10", "9", "x")),
        (["Shirt", "Bag", "Dress"], (), ("Bag", "Dress", "Shirt")),
        (["Shirt", "Bag", "Dress"], ("Shirt", "Dress", "Bag"), ("Shirt", "Dress", "Bag")),
        (["10", "9"], ("10", "9"), ("9", "10")),
    ],
)
def test_classes_are_ordered_by_value_as_declared_or_by_name(
    labels: list[str], declared: tuple[str, ...], names: tuple[str, ...]
) -> None:
    result = cleaned(raw(labels, classes=declared), raw(labels, seed=1))
    assert result.train.class_names == names
    written = [str(int(label)) if label.isdigit() else label for label in labels]
    assert [names[code] for code in result.train.labels] == written


def test_labels_that_are_missing_or_unknown_are_dropped() -> None:
    result = cleaned(raw(["a", "", "b", "a", "b"]), raw(["a", "zebra", "", "b", "b"], seed=1))
    assert counts(result) == {"missing_labels": (1, 1), "unknown_labels": (0, 1)}
    assert examples(result, "missing_labels") == ("row 2", "test row 3")
    assert examples(result, "unknown_labels") == ("test row 2",)
    assert (len(result.train), len(result.test)) == (4, 3)
    with pytest.raises(FmnistError, match=r'train.csv: row 2 has no label, and cleaning.missing_labels is "error"'):
        cleaned(raw(["a", "", "b"]), missing_labels="error")
    with pytest.raises(FmnistError, match=r"test.csv: row 1 has a label that is not a class of train"):
        cleaned(raw(["a", "b"]), raw(["zebra", "a", "b"]), unknown_labels="error")


@pytest.mark.parametrize(
    ("more_labels", "others"),
    [((), ""), (("lion",), " and 1 more"), (("lion", "a", *["ape"] * 1200), " and 1,201 more")],
)
def test_a_rule_set_to_error_names_the_first_row_and_counts_the_others(
    more_labels: tuple[str, ...], others: str
) -> None:
    test = raw(["a", "zebra", "b", *more_labels], seed=1)
    with pytest.raises(FmnistError) as caught:
        cleaned(raw(["a", "b"]), test, unknown_labels="error")
    assert str(caught.value).startswith(
        f"test.csv: row 2 has a label that is not a class of train, 'zebra' (Valid: a, b){others}, and cleaning."
    )
    with pytest.raises(FmnistError, match=rf"train\.csv: row 2 has no label{others}, and"):
        cleaned(
            raw(["a", "", "b", *("a" if label == "a" else "" for label in more_labels)]), test, missing_labels="error"
        )


def test_a_study_may_keep_some_classes_and_rename_them() -> None:
    train = raw(["0", "1", "2", "1", "0", "tee"])
    result = cleaned(
        train,
        raw(["0", "1", "2"], seed=1),
        rename={"0": "Top", "tee": "Top", "1": "Trouser"},
        classes=("Trouser", "Top"),
    )
    assert result.train.class_names == ("Trouser", "Top")
    assert result.train.labels.tolist() == [1, 0, 0, 1, 1]
    assert counts(result) == {"unknown_labels": (1, 1)}
    with pytest.raises(FmnistError, match=r"no image of train.csv has the label 'te'\. Did you mean 'tee'"):
        cleaned(train, rename={"te": "Top"})


def test_a_label_to_rename_that_no_image_has_is_refused_naming_the_file_of_train() -> None:
    with pytest.raises(FmnistError, match=r"no image of train\.csv has the label 'c'\. Valid: a, b\."):
        cleaned(raw(["a", "b"]), rename={"c": "a"})
    result = cleaned(raw(["a", "b"]), raw(["a", "b", "c"], seed=1), rename={"c": "a"})  # it is enough if test has it
    assert result.test.labels.tolist() == [0, 1, 0]


@pytest.mark.parametrize("at", [0, 1])
def test_images_that_are_far_too_dark_are_refused_naming_their_file(at: int) -> None:
    splits = [raw(["a", "b"]), raw(["a", "b"], seed=1)]
    splits[at] = replace(splits[at], pixels=splits[at].pixels % 20 + 3)
    with pytest.raises(FmnistError, match=rf"{WHERE[at]}: all pixels are from 3 to 22, and white is 255 unless"):
        cleaned(*splits)
    stated = [replace(split, extents=(Extent(BYTE, 3, 22, BYTE, is_stated=True),)) for split in splits]
    assert len(cleaned(*stated).train) == 2
    # Their values before scaling to greys count.
    deep = replace(splits[at], extents=(Extent(DEEP, 7, 9000, DEEP, is_stated=False),))
    with pytest.raises(FmnistError, match=rf"{WHERE[at]}: all pixels are from 7 to 9,000, and white is 65,535 unless"):
        cleaned(*[deep if split is splits[at] else split for split in splits])


def test_the_report_counts_what_was_read_in_each_split() -> None:
    train = raw(
        ["a", "b", "a", "", "b"], unreadable=("a/x.png", "b/y.png"), ignored=("id", "size"), leftovers=(".DS_Store",)
    )
    test = raw(["a", "b", ""], seed=1, unreadable=("b/z.png",), other_files=("notes.txt", "old.png"))
    report = cleaned(train, test).report
    assert (report.train_read, report.train_kept, report.test_read, report.test_kept, report.held_out) == (
        7,
        4,
        4,
        2,
        0,
    )
    assert report.ignored_columns == ("id", "size")
    assert not report.resized
    assert [
        (caught.rule, caught.action, caught.train, caught.test, caught.examples)
        for caught in report.caught
        if caught.train or caught.test
    ] == [
        ("unreadable", "skipped", 2, 1, ("a/x.png", "b/y.png", "test b/z.png")),
        ("leftovers", "not read", 1, 0, (".DS_Store",)),
        ("other_files", "not read", 0, 2, ("test notes.txt", "test old.png")),
        ("missing_labels", "dropped", 1, 1, ("row 4", "test row 3")),
    ]
    assert [caught.rule for caught in report.caught] == [
        "unreadable", "leftovers", "other_files",  # files that were not read, only if there are some
        "missing_labels", "unknown_labels", "most_missing", "missing_pixels", "blank", "conflicts",
        "duplicates", "leaks",
    ]  # fmt: skip


def test_the_report_says_whether_the_reader_resized_pictures() -> None:
    assert cleaned(raw(["a", "b"], is_resized=True)).report.resized


def test_a_report_names_the_first_eight_rows_of_both_splits() -> None:
    train, test = raw(["a", "b"] + [""] * 5), raw(["a", "b"] + [""] * 6, seed=1)
    result = cleaned(train, test)
    names = (*(f"row {row}" for row in range(3, 8)), *(f"test row {row}" for row in range(3, 6)))
    assert examples(result, "missing_labels") == names
    pictures = result.caught["missing_labels"]
    assert pictures.names == names
    np.testing.assert_array_equal(pictures.pixels, np.concatenate([train.pixels[2:7], test.pixels[2:5]]))
    assert pictures.missing is not None
    assert pictures.missing.shape == (8, 28, 28)
    assert not pictures.missing.any()
    test_only = cleaned(raw(["a", "b"]), test).caught["missing_labels"]
    assert test_only.names == tuple(f"test row {row}" for row in range(3, 9))
    ten = raw(["a", "b"] + [""] * 10, unreadable=tuple("0123456789"))
    assert examples(cleaned(ten), "missing_labels") == tuple(f"row {row}" for row in range(3, 11))
    assert examples(cleaned(ten), "unreadable") == tuple("01234567")


def test_pictures_with_missing_pixels_are_stored_with_the_gaps() -> None:
    train, test = gaps_in(raw(["a", "b"]), [(1, 3, 4)]), raw(["a", "b"], seed=1)
    pictures = cleaned(train, gaps_in(test, [(0, 5, 6)])).caught["missing_pixels"]
    assert pictures.names == ("row 2", "test row 1")
    assert pictures.missing is not None
    assert np.argwhere(pictures.missing).tolist() == [[0, 3, 4], [1, 5, 6]]


def test_rows_of_a_held_out_test_split_are_named_as_rows_of_train_s_file() -> None:
    train = raw(["a", "b"] * 20)
    train.pixels[20:] = train.pixels[:20]
    result = clean(train, None, CleaningRules(duplicates="keep", leaks="keep"), where=WHERE)
    assert result.caught["leaks"].names == examples(result, "leaks")
    assert all(name.startswith("row ") for name in result.caught["leaks"].names)


@pytest.mark.parametrize(
    "stated",
    [
        *({"white": white} for white in (0.0, -1.0, math.inf, math.nan, "255", True)),
        *({"most_missing": share} for share in (-0.01, 1.01, "0.5", True)),
        *({rule: "keep"} for rule in ("unreadable", "missing_labels", "unknown_labels", "missing_pixels")),
        *({rule: "error"} for rule in ("blank", "conflicts", "duplicates", "leaks")),
        *({"classes": "ab"}, {"classes": (1, 2)}, {"rename": {"a": 1}}, {"blnk": "drop"}),
    ],
)
def test_invalid_rules_are_refused(stated: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        CleaningRules(**stated)


def test_a_report_survives_json_and_is_frozen() -> None:
    report = cleaned(raw(["a", "b", ""])).report
    record = report.model_dump(mode="json")
    assert CleaningReport.model_validate(record) == report
    assert not report.is_clean
    assert not cleaned(raw(["a", "b"]), raw(["a", "b", ""], seed=1)).report.is_clean
    for damaged in ({**record, "seen": 1}, {**record, "caught": [{**record["caught"][0], "seen": 1}]}):
        with pytest.raises(ValidationError, match="seen"):
            CleaningReport.model_validate(damaged)
    record.pop("resized")  # older reports do not have this field
    assert not CleaningReport.model_validate(record).resized
    for model, field in ((report, "train_read"), (report.caught[0], "train"), (CleaningRules(), "white")):
        with pytest.raises(ValidationError, match="frozen"):
            setattr(model, field, 1)


@pytest.mark.parametrize(
    ("labels", "declared", "rules", "message"),
    [
        (["a", "a"], (), {}, "at least 2 classes .* only 'a'"),
        (["", ""], (), {}, "at least 2 classes .* no label at all"),
        ([str(i) for i in range(101)], (), {}, "at most 100 classes; train.csv has 101 different labels"),
        (["a", "b"], ("a", "b", "c"), {}, "Every class must have images; 'c' has none in train.csv"),
        (["a", "b"], (), {"classes": ("a", "bb")}, "'bb' has none in train.csv"),
        (["a", "b" * 101], (), {}, "at most 100 printable characters"),
        (["a", "b\nc"], (), {}, "printable"),
    ],
)
def test_invalid_classes_are_refused(
    labels: list[str], declared: tuple[str, ...], rules: dict[str, Any], message: str
) -> None:
    with pytest.raises(FmnistError, match=message):
        cleaned(raw(labels, classes=declared), raw(["a", "b"], seed=3), **rules)


def test_a_class_without_images_after_cleaning_is_refused() -> None:
    train = raw(["a", "a", "b"])
    train.pixels[2] = 0
    with pytest.raises(FmnistError, match=r"'b' has none in train.csv after cleaning"):
        cleaned(train)
    with pytest.raises(FmnistError, match=r"in train and in test; 'b' has none in test.csv"):
        cleaned(raw(["a", "b"]), raw(["a"], seed=1))
    with pytest.raises(
        FmnistError, match=r"'b' has none in test.csv. Other labels there: Did you mean 'B'\? Add images"
    ):
        cleaned(raw(["a", "b"]), raw(["a", "B", ""], seed=1))
    with pytest.raises(FmnistError, match=r"'b' has none in test.csv. Add images of it, or name the classes"):
        cleaned(raw(["a", "b"]), raw(["a", ""], seed=1))
    with pytest.raises(FmnistError, match="in train and in test; 'b' has 2 of 12 images, and test takes 2"):
        clean(raw(["a"] * 10 + ["b"] * 2), None, CleaningRules(), where=WHERE)
