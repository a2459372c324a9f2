import math
import statistics
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from fmnist.data.clean import Cleaned, clean
from fmnist.data.cleaning import CleaningReport, CleaningRules
from fmnist.data.images import Images
from fmnist.data.missing import filled_by_class, median_image
from fmnist.data.pictures import centred
from fmnist.data.preparation import CENTRED, Preparation
from fmnist.data.raw import Raw
from fmnist.data.scale import BYTE, DEEP, Extent
from fmnist.data.stratify import stratified
from fmnist.errors import FmnistError

WHERE = ("train.csv", "test.csv")


def raw(labels: list[str], *, seed: int = 0, **more: Any) -> Raw:
    pixels = np.random.default_rng(seed).integers(1, 256, (len(labels), 28, 28)).astype(np.uint8)
    return Raw(pixels, np.array(labels, np.str_), **more)


def cleaned(train: Raw, test: Raw | None = None, **rules: Any) -> Cleaned:
    test = test or raw(sorted(set(train.labels.tolist()) - {""}), seed=99)
    return clean(train, test, CleaningRules(**rules), where=WHERE)


def counts(result: Cleaned) -> dict[str, tuple[int, int]]:
    """Return the images of train and of test that each rule caught, without rules that caught none."""
    return {caught.rule: (caught.train, caught.test) for caught in result.report.caught if caught.train or caught.test}


def examples(result: Cleaned, rule: str) -> tuple[str, ...]:
    return next(caught.examples for caught in result.report.caught if caught.rule == rule)


def test_clean_rows_are_not_changed() -> None:
    train = raw(["b", "a", "b", "a"])
    result = cleaned(train)
    np.testing.assert_array_equal(result.train.pixels, train.pixels)
    assert result.train.labels.tolist() == [1, 0, 1, 0]
    assert result.train.class_names == result.test.class_names == ("a", "b")
    assert result.report.is_clean
    assert not result.report.resized
    assert result.blind is None
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


def gaps_in(train: Raw, gaps: list[tuple[int, int, int]]) -> Raw:
    missing = np.zeros(train.pixels.shape, np.bool_)
    for row, y, x in gaps:
        missing[row, y, x] = True
    return Raw(np.where(missing, 0, train.pixels).astype(np.uint8), train.labels, missing)


def test_missing_pixels_become_the_median_of_their_class() -> None:
    train = raw(["a", "a", "a", "a", "b", "b"])
    train.pixels[:, 3, 4] = (10, 20, 40, 99, 200, 210)
    dirty = gaps_in(train, [(3, 3, 4), (4, 3, 4)])
    result = cleaned(dirty, missing_pixels="median")
    assert result.train.pixels[:, 3, 4].tolist() == [10, 20, 40, 20, 210, 210]
    assert result.blind is not None
    assert result.blind[:, 3, 4].tolist() == [
        10,
        20,
        40,
        30,
        30,
        210,
    ]  # of both classes: images used for scoring must not contain the class
    assert counts(result) == {"missing_pixels": (2, 0)}
    assert examples(result, "missing_pixels") == ("row 4", "row 5")
    assert result.caught["missing_pixels"].missing is not None
    assert result.caught["missing_pixels"].missing.sum() == 2
    others = np.ones((28, 28), np.bool_)
    others[3, 4] = False
    np.testing.assert_array_equal(result.train.pixels[:, others], train.pixels[:, others])


@given(
    st.lists(
        st.tuples(st.sampled_from([0, 1, 7, 254, 255]), st.booleans(), st.sampled_from("abc")), min_size=1, max_size=9
    )
)
@settings(max_examples=100, deadline=None)
def test_a_median_ignores_missing_pixels_and_rounds_halves_up(images: list[tuple[int, bool, str]]) -> None:
    def median(greys: list[int]) -> int:
        return math.floor(statistics.median(greys) + 0.5) if greys else 0

    pixels = np.array([0 if is_missing else grey for grey, is_missing, _ in images], np.uint8)[:, None, None]
    missing = np.array([is_missing for _, is_missing, _ in images])[:, None, None]
    labels = np.array([label for _, _, label in images])
    of_class = {
        label: median([grey for grey, is_missing, other in images if other == label and not is_missing])
        for label in "abc"
    }
    assert median_image(pixels, missing).tolist() == [
        [median([grey for grey, is_missing, _ in images if not is_missing])]
    ]
    filled = [of_class[label] if is_missing else grey for grey, is_missing, label in images]
    assert filled_by_class(pixels, missing, labels).ravel().tolist() == filled


def test_missing_test_pixels_are_filled_without_the_label() -> None:
    train = raw(["a", "a", "b"])
    train.pixels[:, 0, 0] = (10, 30, 50)
    test = gaps_in(raw(["a", "b"], seed=1), [(0, 0, 0), (1, 0, 0)])
    filled = cleaned(train, test, missing_pixels="median")
    assert filled.test.pixels[:, 0, 0].tolist() == [30, 30]
    assert filled.blind is None  # train had no missing pixels
    assert cleaned(train, test, missing_pixels="zero").test.pixels[:, 0, 0].tolist() == [0, 0]


def test_if_no_row_is_left_to_compute_medians_the_error_names_the_cause() -> None:
    with pytest.raises(FmnistError, match=r"train\.csv has no label at all"):
        cleaned(
            gaps_in(raw(["", ""]), [(0, 0, 0)]), gaps_in(raw(["", ""], seed=1), [(0, 0, 0)]), missing_pixels="median"
        )


def test_a_held_out_test_split_is_filled_without_the_label() -> None:
    train = raw(["a", "b"] * 35)
    train.pixels[::2, 0, 0], train.pixels[1::2, 0, 0] = 100, 200
    dirty = gaps_in(train, [(row, 0, 0) for row in range(20, 70)])
    result = clean(dirty, None, CleaningRules(missing_pixels="median"), where=WHERE)
    assert set(result.test.pixels[:, 0, 0].tolist()) <= {100, 150, 200}
    assert 150 in result.test.pixels[:, 0, 0]
    assert set(result.train.pixels[:, 0, 0].tolist()) == {100, 200}


def test_missing_pixels_may_be_refused_and_images_with_too_many_are_dropped() -> None:
    train = gaps_in(raw(["a", "a", "a", "b"]), [(0, 5, 5), *[(1, y, x) for y in range(20) for x in range(28)]])
    result = cleaned(train)
    assert counts(result) == {"most_missing": (1, 0), "missing_pixels": (1, 0)}
    assert len(result.train) == 3
    assert counts(cleaned(train, most_missing=1.0)) == {"missing_pixels": (2, 0)}
    assert counts(cleaned(train, most_missing=0.0)) == {"most_missing": (2, 0)}
    with pytest.raises(FmnistError, match=r"row 1 has missing pixels, and cleaning.missing_pixels"):
        cleaned(train, missing_pixels="error")


def test_an_image_with_half_its_pixels_missing_is_kept_by_default() -> None:
    half = [(y, x) for y in range(14) for x in range(28)]
    train = gaps_in(
        raw(["a", "b", "a", "b"]), [*((0, y, x) for y, x in half), *((1, y, x) for y, x in [*half, (14, 0)])]
    )
    assert counts(cleaned(train)) == {"most_missing": (1, 0), "missing_pixels": (1, 0)}


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


def test_blank_images_are_dropped_from_train_and_counted_in_test() -> None:
    train, test = raw(["a", "a", "b", "b"]), raw(["a", "b"], seed=1)
    train.pixels[1], train.pixels[2], test.pixels[0] = 0, 77, 255
    result = cleaned(train, test)
    assert counts(result) == {"blank": (2, 1)}
    assert (len(result.train), len(result.test)) == (2, 2)
    kept = cleaned(train, test, blank="keep")
    assert (len(kept.train), counts(kept)) == (4, {"blank": (2, 1)})


def test_copies_are_dropped_but_for_the_first_and_conflicts_altogether() -> None:
    train = raw(["a", "b", "a", "a", "b", "a", "b"])
    train.pixels[2] = train.pixels[3] = train.pixels[0]  # three under one label
    train.pixels[4] = train.pixels[5]  # one image under two labels
    result = cleaned(train)
    assert counts(result) == {"conflicts": (2, 0), "duplicates": (2, 0)}
    assert examples(result, "conflicts") == ("row 5", "row 6")
    assert examples(result, "duplicates") == ("row 3", "row 4")
    np.testing.assert_array_equal(result.train.pixels, train.pixels[[0, 1, 6]])
    assert len(cleaned(train, conflicts="keep").train) == 5
    assert len(cleaned(train, duplicates="keep").train) == 5


def test_images_of_the_test_split_are_dropped_from_train() -> None:
    train, test = raw(["a", "a", "b", "b"]), raw(["a", "b", "b"], seed=1)
    train.pixels[1] = test.pixels[2]  # under another label: only the pixels count
    result = cleaned(train, test)
    assert counts(result) == {"leaks": (1, 1)}
    assert examples(result, "leaks") == ("row 2", "test row 3")
    assert (len(result.train), len(result.test)) == (3, 3)
    assert len(cleaned(train, test, leaks="keep").train) == 4


def test_without_a_test_split_a_seventh_of_every_class_is_held_out() -> None:
    train = raw(["a"] * 70 + ["b"] * 35)
    result = clean(train, None, CleaningRules(), where=WHERE)
    assert np.bincount(result.test.labels).tolist() == [10, 5]
    assert np.bincount(result.train.labels).tolist() == [60, 30]
    assert (result.report.held_out, result.report.test_kept, result.report.train_kept) == (15, 15, 90)
    both = {image.tobytes() for images in (result.train, result.test) for image in images.pixels}
    assert both == {image.tobytes() for image in train.pixels}
    assert result.report.test_read == 0
    chosen = stratified((train.labels == "b").astype(np.int64), ("a", "b"), share=1 / 7, seed=0, into="test").held_out
    np.testing.assert_array_equal(result.test.pixels, train.pixels[chosen])  # the same images on every machine


def test_copies_that_are_kept_are_not_in_both_train_and_the_held_out_split() -> None:
    train = raw(["a", "b"] * 20)
    train.pixels[20:] = train.pixels[:20]
    result = clean(train, None, CleaningRules(duplicates="keep"), where=WHERE)
    assert {image.tobytes() for image in result.train.pixels}.isdisjoint(
        image.tobytes() for image in result.test.pixels
    )


def test_images_of_another_size_are_resized_to_28_by_28() -> None:
    large = Raw(np.full((4, 56, 56), 9, np.uint8), np.array(["a", "a", "b", "b"]))
    large.pixels[:, 0:28, 0:28] = np.array([50, 100, 150, 200], np.uint8)[:, None, None]
    test = Raw(255 - large.pixels, large.labels)
    result = cleaned(large, test)
    assert result.train.pixels.shape == (4, 28, 28)
    assert result.train.pixels[:, 5, 5].tolist() == [50, 100, 150, 200]
    assert result.report.resized
    with pytest.raises(FmnistError, match=r"one size; they are \(56, 56\) in train.csv and \(28, 28\) in test.csv"):
        cleaned(large, raw(["a", "b"]))


def test_images_are_centred_unless_they_were_before_or_are_blank() -> None:
    train = raw(["a", "a", "b", "b", "b"])
    train.pixels[:, :9], train.pixels[:, 20:], train.pixels[4] = (
        255,
        255,
        200,
    )  # bars on white, except for a blank image
    test = replace(raw(["a", "b"], seed=1), preparation=Preparation(form=CENTRED, whites=(DEEP,)))
    result = clean(train, test, CleaningRules(), where=WHERE, form=CENTRED)
    np.testing.assert_array_equal(result.train.pixels, [centred(pixels, "") for pixels in train.pixels[:4]])
    assert (result.train.pixels != train.pixels[:4]).any()
    np.testing.assert_array_equal(result.test.pixels, test.pixels)
    assert counts(result) == {"blank": (1, 0)}
    assert result.preparation == Preparation(form=CENTRED, whites=(DEEP,))
    kept = clean(train, test, CleaningRules(blank="keep"), where=WHERE, form=CENTRED)
    assert (kept.train.pixels[4] == 200).all()


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


@st.composite
def dirty(draw: st.DrawFn) -> tuple[Raw, Raw]:
    """Splits with everything that cleaning handles; there are so few different images that they repeat."""
    images = np.random.default_rng(0).integers(1, 256, (6, 28, 28)).astype(np.uint8)
    images[5] = 70  # blank

    def split(rows: int) -> Raw:
        chosen = draw(st.lists(st.integers(0, 5), min_size=rows, max_size=rows))
        labels = draw(st.lists(st.sampled_from(["a", "b", "c", ""]), min_size=rows, max_size=rows))
        pixels = images[chosen]
        missing = np.zeros(pixels.shape, np.bool_)
        for row in draw(st.lists(st.integers(0, rows - 1), max_size=3)):
            missing[row, : draw(st.integers(1, 28))] = True
        return Raw(np.where(missing, 0, pixels).astype(np.uint8), np.array(labels, np.str_), missing)

    return split(draw(st.integers(1, 25))), split(draw(st.integers(1, 10)))


@settings(max_examples=200, deadline=None)
@given(
    dirty(),
    st.fixed_dictionaries(
        {rule: st.sampled_from(["drop", "keep"]) for rule in ("blank", "conflicts", "duplicates", "leaks")}
    ),
)
def test_every_row_is_kept_or_counted_and_cleaning_again_changes_nothing(
    splits: tuple[Raw, Raw], rules: dict[str, Any]
) -> None:
    try:
        result = clean(*splits, CleaningRules(**rules), where=WHERE)
    except FmnistError:  # a class has no images left
        return
    report = result.report
    dropped = sum(caught.train for caught in report.caught if caught.action.startswith("dropped"))
    assert report.train_read - dropped == report.train_kept == len(result.train)
    dropped = sum(caught.test for caught in report.caught if caught.action == "dropped")
    assert report.test_read - dropped == report.test_kept == len(result.test)
    assert all(len(caught.examples) == min(8, caught.train + caught.test) for caught in report.caught)
    again = clean(_as_read(result.train), _as_read(result.test), CleaningRules(**rules), where=WHERE)
    assert (len(again.train), len(again.test)) == (len(result.train), len(result.test))
    np.testing.assert_array_equal(again.train.pixels, result.train.pixels)


def _as_read(images: Images) -> Raw:
    return Raw(images.pixels, np.array(images.class_names)[images.labels])
