import math
import statistics
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fmnist.data.clean import clean
from fmnist.data.cleaning import CleaningRules
from fmnist.data.images import Images
from fmnist.data.missing import filled_by_class, median_image
from fmnist.data.pictures import centred
from fmnist.data.preparation import CENTRED, Preparation
from fmnist.data.raw import Raw
from fmnist.data.scale import DEEP
from fmnist.data.stratify import stratified
from fmnist.errors import FmnistError
from tests.fmnist.data.raw_rows import WHERE, cleaned, counts, examples, gaps_in, raw


def test_missing_pixels_become_the_median_of_their_class() -> None:
    train = raw(["a", "a", "a", "a", "b", "b"])
    train.pixels[:, 3, 4] = (10, 20, 40, 99, 200, 210)
    dirty = gaps_in(train, [(3, 3, 4), (4, 3, 4)])
    result = cleaned(dirty, missing_pixels="median")
    assert result.train.pixels[:, 3, 4].tolist() == [10, 20, 40, 20, 210, 210]
    assert result.scoring_pixels is not None
    assert result.scoring_pixels[:, 3, 4].tolist() == [
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
    assert filled.scoring_pixels is None  # train had no missing pixels
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


@pytest.mark.parametrize("filling", ["zero", "median"])
def test_copies_with_missing_pixels_are_copies_whatever_fills_them(filling: str) -> None:
    train, test = raw(["a", "b", "a", "a", "b", "b"]), raw(["a", "b"], seed=1)
    train.pixels[1] = train.pixels[0]  # under two labels
    train.pixels[2] = test.pixels[1]
    train, test = gaps_in(train, [(0, 3, 4), (1, 3, 4), (2, 5, 6)]), gaps_in(test, [(1, 5, 6)])
    assert counts(cleaned(train, test, missing_pixels=filling)) == {
        "missing_pixels": (3, 1),
        "conflicts": (2, 0),
        "leaks": (1, 1),
    }


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
