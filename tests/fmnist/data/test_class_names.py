"""Class names that look the same: one class if they are the same name in Unicode, otherwise different classes."""

import unicodedata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fmnist.data.cleaning import CleaningRules
from fmnist.data.labels import (
    are_class_names,
    class_order,
    encode,
    explain_difference,
    nearest_class,
    require_classes,
    require_renamed,
    written_labels,
)
from fmnist.data.raw import Raw
from fmnist.data.sources import find_source
from fmnist.errors import FmnistError
from tests.fmnist.data.forms import open_source

COMPOSED, SPLIT = (unicodedata.normalize(form, "Schürze") for form in ("NFC", "NFD"))
LOOKALIKE = "\u0412ag"  # a Cyrillic letter first


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


def write(folder: Path, *names: str) -> Path:
    rng = np.random.default_rng(list(folder.name.encode()))
    for name in names:
        (folder / name).mkdir(parents=True)
        for number in range(7):
            Image.fromarray(rng.integers(0, 256, (28, 28), np.uint8)).save(folder / name / f"{number}.png")
    return folder


def test_two_spellings_of_an_accent_are_one_class(tmp_path: Path) -> None:
    write(tmp_path / "data" / "train", SPLIT, "Bag")
    write(tmp_path / "data" / "test", COMPOSED, "Bag")
    source = open_source(tmp_path / "data")
    assert source.train().class_names == source.test().class_names == ("Bag", COMPOSED)
    assert (len(source.train()), len(source.test())) == (14, 14)


@pytest.mark.parametrize("written", [COMPOSED, SPLIT])
def test_rules_may_name_a_class_in_either_spelling(written: str, tmp_path: Path) -> None:
    data = write(tmp_path / "data", SPLIT, "Bag", "Coat")
    rules = CleaningRules(classes=(written, "Bag"), rename={"Coat": written})
    assert np.bincount(find_source(str(data), rules=rules, announce=lambda _: None).train().labels).tolist() == [12, 6]
    renamed = find_source(str(data), rules=CleaningRules(rename={written: "Apron"}), announce=lambda _: None)
    assert renamed.train().class_names == ("Bag", "Coat", "Apron")


def test_both_spellings_in_one_array_are_one_class(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (42, 28, 28), np.uint8)
    np.savez(tmp_path / "a.npz", x=pixels, y=np.array([COMPOSED, SPLIT, "Bag"] * 14))
    assert open_source(tmp_path / "a.npz").train().class_names == ("Bag", COMPOSED)


@pytest.mark.parametrize("rules", [CleaningRules(), CleaningRules(unknown_labels="error")])
def test_names_that_only_look_alike_are_distinguished(rules: CleaningRules, tmp_path: Path) -> None:
    train, test = write(tmp_path / "train", "Bag", "Coat"), write(tmp_path / "test", LOOKALIKE, "Coat")
    with pytest.raises(FmnistError, match=r"U\+0042 LATIN CAPITAL LETTER B") as caught:
        find_source(str(train), test=str(test), rules=rules, announce=lambda _: None)
    assert "character 1: " in str(caught.value)
    assert "U+0412 CYRILLIC CAPITAL LETTER VE" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "near", "explanation"),
    [
        ("Bag", "Bog", ""),  # a visible difference
        ("Bag", "Bags", ""),
        ("Bag", "Bag", ""),
        (
            LOOKALIKE,
            "Bag",
            "character 1: U+0412 CYRILLIC CAPITAL LETTER VE in the former, U+0042 LATIN CAPITAL LETTER B in the "
            "latter.",
        ),
        (
            "Bag",
            LOOKALIKE,
            "character 1: U+0042 LATIN CAPITAL LETTER B in the former, U+0412 CYRILLIC CAPITAL LETTER VE in the "
            "latter.",
        ),
        (
            "Ca\u0440",
            "Cap",
            "character 3: U+0440 CYRILLIC SMALL LETTER ER in the former, U+0070 LATIN SMALL LETTER P in the latter.",
        ),
        ("A B", "A\u00a0B", "character 2: U+0020 SPACE in the former, U+00A0 NO-BREAK SPACE in the latter."),
        ("A B", "A_B", "character 2: U+0020 SPACE in the former, U+005F LOW LINE in the latter."),
        ("Bag\u200b", "Bag", "character 4: U+200B ZERO WIDTH SPACE in the former, nothing in the latter."),
        ("Bag", "Bag\ue000", "character 4: nothing in the former, U+E000 without a name in the latter."),
    ],
)
def test_an_invisible_difference_is_explained_by_its_first_character(name: str, near: str, explanation: str) -> None:
    assert explain_difference(name, near) == (f" They differ in {explanation}" if explanation else "")


def test_the_hint_names_the_nearest_class_or_else_all_classes() -> None:
    assert nearest_class("Bog", ["Coat", "Bag"]) == "Did you mean 'Bag'?"
    assert nearest_class("xyz", ["Coat", "Bag"]) == "Valid: Bag, Coat."
    assert nearest_class(LOOKALIKE, ["Coat", "Bag"]).startswith(
        "Did you mean 'Bag'? They differ in character 1: U+0412"
    )


def numbered(count: int) -> list[str]:
    return [f"class {number}" for number in range(count)]


@pytest.mark.parametrize(
    ("names", "is_valid"),
    [
        (numbered(2), True),
        (numbered(100), True),
        (["a", "b" * 100], True),
        ([], False),
        (numbered(1), False),
        (numbered(101), False),
        (["a", "b" * 101], False),
        (["a", "b\nc"], False),
        (["b\nc", "a"], False),
        (["a", "b", "a"], False),
    ],
)
def test_a_model_has_2_to_100_different_printable_names_of_at_most_100_characters(
    names: list[str], is_valid: bool
) -> None:
    assert are_class_names(names) is is_valid


def refusal(labels: list[str], classes: tuple[str, ...]) -> str:
    with pytest.raises(FmnistError) as caught:
        require_classes(np.array(labels, np.str_), classes, "train.csv")
    return str(caught.value)


def test_the_largest_number_of_classes_and_the_longest_names_are_valid() -> None:
    names = (*numbered(99), "b" * 100)
    require_classes(np.array(names), names, "train.csv")
    require_classes(np.array(["a", "b"]), ("a", "b"), "train.csv")


@pytest.mark.parametrize(
    ("labels", "classes", "message"),
    [
        (["a", "b"], ("a", "bag", "cup"), "'bag' has none in train.csv. Valid: b."),
        (["a", "bog"], ("a", "bag", "cup"), "'bag' has none in train.csv. Did you mean 'bog'?"),
        (["a"], ("a", "bag", "cup"), "'bag' has none in train.csv after cleaning. Add images, or remove the class."),
        (["a"], ("a",), "at least 2 classes to distinguish; train.csv has only 'a'. Add images of another class."),
        ([], (), "at least 2 classes to distinguish; train.csv has no label at all."),
        (
            numbered(1001),
            tuple(numbered(1001)),
            "train.csv has 1,001 different labels: 'class 0', 'class 1', 'class 2' ... Is another column",
        ),
        (["a", "b" * 1234], ("a", "b" * 1234), f"train.csv has '{'b' * 40}' (1,234 characters). Rename it"),
        (["a", "b\nc"], ("a", "b\nc"), "train.csv has 'b\\nc' (3 characters). Rename it"),
    ],
)
def test_invalid_classes_are_named_with_the_next_step(
    labels: list[str], classes: tuple[str, ...], message: str
) -> None:
    assert message in refusal(labels, classes)


def test_labels_are_normalized_and_renamed_as_written_or_by_their_number() -> None:
    labels = np.array(["07", "7", "", "x7", "-3", "+3", "0012345678901234567890", SPLIT])
    rename = {"7": "seven", "+3": "three"}
    assert written_labels(labels, rename).tolist() == [
        "seven",
        "seven",
        "",
        "x7",
        "-3",
        "three",
        "0012345678901234567890",
        COMPOSED,
    ]
    assert written_labels(labels, {"07": "zero seven"}).tolist()[:2] == ["zero seven", "7"]
    assert written_labels(np.array([], np.str_), {}).dtype.kind == "U"


def test_a_label_to_rename_may_be_in_either_split_and_in_either_form() -> None:
    train, test = (Raw(np.zeros((2, 28, 28), np.uint8), np.array(labels)) for labels in (["07", "a"], ["b", ""]))
    require_renamed({"7": "x", "b": "y", "007": "z"}, [train, test], "data.csv")
    with pytest.raises(FmnistError, match=r"no image of data\.csv has the label ''\. Valid: 7, a, b\."):
        require_renamed({"7": "x", "": "y"}, [train, test], "data.csv")


def test_codes_are_indices_into_the_ordered_classes() -> None:
    assert class_order([], ["10", "9", "-1", ""]) == ("-1", "9", "10")
    assert class_order(["b", "a"], ["d", "a", "c", ""]) == ("b", "a", "c", "d")
    assert encode(np.array(["b", "a", "c", "b"]), ("c", "b", "a")).tolist() == [1, 2, 0, 1]
