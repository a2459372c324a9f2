"""Names of classes that look the same: one class where they mean the same, told apart where they do not."""

import unicodedata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fmnist.data.cleaning import CleaningRules
from fmnist.data.sources import find_source
from fmnist.errors import FmnistError
from tests.fmnist.data.forms import found

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
    source = found(tmp_path / "data")
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
    assert found(tmp_path / "a.npz").train().class_names == ("Bag", COMPOSED)


@pytest.mark.parametrize("rules", [CleaningRules(), CleaningRules(unknown_labels="error")])
def test_names_that_only_look_alike_are_told_apart(rules: CleaningRules, tmp_path: Path) -> None:
    train, test = write(tmp_path / "train", "Bag", "Coat"), write(tmp_path / "test", LOOKALIKE, "Coat")
    with pytest.raises(FmnistError, match=r"U\+0042 LATIN CAPITAL LETTER B") as caught:
        find_source(str(train), test=str(test), rules=rules, announce=lambda _: None)
    assert "character 1: " in str(caught.value)
    assert "U+0412 CYRILLIC CAPITAL LETTER VE" in str(caught.value)
