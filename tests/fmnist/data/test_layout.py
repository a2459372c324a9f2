"""Folders of pictures as users have them, with splits, leftovers and stray files. Every file is reported."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from fmnist.data.arrays import write_npz
from fmnist.data.cleaning import Caught, CleaningReport, CleaningRules
from fmnist.data.sources import Source, find_source, fingerprint
from fmnist.errors import FmnistError
from tests.fmnist.data.forms import TEST, TRAIN, open_source, write_csv, write_parquet

CLASSES = ("Bag", "Shirt")
LEFTOVERS = (
    *(
        "@eaDir/0.png/SYNOPHOTO_THUMB_M.jpg",
        "desktop.ini",
        ".AppleDouble/0.png",
        "Icon\r",
        "lost+found/1.png",
        "Thumbs.db",
        ".DS_Store",
    ),
    *(
        "__MACOSX/._0.png",
        "._0.png",
        "~$notes.docx",
        "1.png.tmp",
        ".ipynb_checkpoints/0.png",
        "0.png:Zone.Identifier",
        "#recycle/a/0.png",
    ),
)


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


def write_classes(folder: Path, count: int, *, seed: int = 0) -> Path:
    """Write `count` different pictures of each class."""
    rng = np.random.default_rng([seed, *folder.name.encode()])
    for name in CLASSES:
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            Image.fromarray(rng.integers(0, 256, (28, 28), np.uint8)).save(folder / name / f"{number}.png")
    return folder


def write_file(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")


def cleaning(source: Source) -> CleaningReport:
    assert source.cleaning is not None
    return source.cleaning


def caught(source: Source, rule: str) -> Caught | None:
    return next((caught for caught in cleaning(source).caught if caught.rule == rule), None)


@pytest.mark.parametrize("train", ["train", "Training", "TRAIN", "train_set", "training-data"])
@pytest.mark.parametrize("test", ["test", "Testing", "TEST", "test images"])
def test_splits_are_recognised_by_any_usual_name(train: str, test: str, tmp_path: Path) -> None:
    write_classes(tmp_path / "data" / train, 4)
    write_classes(tmp_path / "data" / test, 2)
    source = open_source(tmp_path / "data")
    assert source.train().class_names == CLASSES
    assert (len(source.train()), len(source.test())) == (8, 4)


@pytest.mark.parametrize("name", ["val", "valid", "Validation", "dev", "VAL"])
def test_a_validation_split_is_counted_as_not_read(name: str, tmp_path: Path) -> None:
    for split, count in (("train", 4), (name, 3), ("test", 2)):
        write_classes(tmp_path / "data" / split, count)
    lines: list[str] = []
    source = find_source(str(tmp_path / "data"), announce=lines.append)
    assert (len(source.train()), len(source.test())) == (8, 4)
    entry = caught(source, "other_splits")
    assert entry is not None
    assert (entry.action, entry.train, entry.examples[0]) == ("not read", 6, f"{name}/Bag/0.png")
    assert "other_splits 6 not read" in lines[-1]


@pytest.mark.parametrize(
    ("folders", "parts"),
    [
        (("train", "Training", "test"), ["holds Training and train, both for train", "Merge them"]),
        (("train", "test", "testing"), ["both for test"]),
        (("test", "valid"), ["holds test, valid and no train"]),
        (("test", *"ABCDEFGHI"), ["holds A, B, C, D, E, F, G, H and no train"]),
        (
            ("test", "Coat", "Dress"),
            ["holds Coat, Dress, test and no train", "Move the class folders into a folder train"],
        ),
    ],
)
def test_ambiguous_folders_are_refused(folders: tuple[str, ...], parts: list[str], tmp_path: Path) -> None:
    for name in folders:
        write_classes(tmp_path / "data" / name, 2)
    with pytest.raises(FmnistError) as error:
        open_source(tmp_path / "data")
    assert all(part in str(error.value) for part in [*parts, str(tmp_path / "data")]), str(error.value)


def write_within_classes(folder: Path, *places: str) -> Path:
    for place in places:
        write_classes(folder.parent / place, 8)
        for name in CLASSES:
            (folder / name / place).parent.mkdir(parents=True, exist_ok=True)
            (folder.parent / place / name).rename(folder / name / place)
    return folder


@pytest.mark.parametrize("inner", ["", "/2024"])
def test_splits_within_classes_are_refused(inner: str, tmp_path: Path) -> None:
    with pytest.raises(
        FmnistError, match=r"Splits must be above classes.* holds Bag/(test|train) and Bag/(test|train)\."
    ):
        open_source(write_within_classes(tmp_path / "data", f"train{inner}", f"test{inner}"))


@pytest.mark.parametrize("places", [("train",), ("front/train", "back/test")])
def test_other_folders_within_classes_are_read(places: tuple[str, ...], tmp_path: Path) -> None:
    source = open_source(write_within_classes(tmp_path / "data", *places))
    assert cleaning(source).train_read == 16 * len(places)
    assert source.train().class_names == CLASSES


@pytest.mark.parametrize("leftover", LEFTOVERS)
@pytest.mark.parametrize("place", ["", "Bag/"])
def test_a_leftover_is_counted_and_named_and_not_read(leftover: str, place: str, tmp_path: Path) -> None:
    write_classes(tmp_path / "data", 10)
    before = cleaning(open_source(tmp_path / "data"))
    write_file(tmp_path / "data" / f"{place}{leftover}")
    source = open_source(tmp_path / "data")
    entry = caught(source, "leftovers")
    assert entry is not None
    assert (entry.action, entry.train, entry.examples) == ("not read", 1, (f"{place}{leftover}",))
    assert source.train().class_names == CLASSES
    assert (cleaning(source).train_read, cleaning(source).train_kept) == (before.train_read, before.train_kept)


@pytest.mark.skipif(sys.platform != "linux", reason="such names cannot be created elsewhere")
def test_a_leftover_whose_name_is_not_utf_8_is_named_too(tmp_path: Path) -> None:
    write_classes(tmp_path / "data", 10)
    write_file(tmp_path / "data" / os.fsdecode(b"._\xff.png"))
    entry = caught(open_source(tmp_path / "data"), "leftovers")
    assert entry is not None
    assert (entry.train, entry.examples) == (1, ("._\\udcff.png",))


@pytest.mark.parametrize("splits", [("",), ("train/", "test/")])
@pytest.mark.parametrize("stray", ["labels.csv", "train.csv", "index.parquet", "README.md"])
def test_a_table_beside_class_folders_is_named_and_not_read(
    splits: tuple[str, ...], stray: str, tmp_path: Path
) -> None:
    for split in splits:
        write_classes(tmp_path / "data" / split, 10)
    (tmp_path / "data" / stray).write_text("file,label\n0.png,Bag\n")
    source = open_source(tmp_path / "data")
    entry = caught(source, "other_files")
    assert entry is not None
    assert (entry.action, entry.train, entry.examples) == ("not read", 1, (stray,))
    assert source.train().class_names == CLASSES


def test_tables_beside_those_of_the_splits_are_named(tmp_path: Path) -> None:
    for name in ("x_train.csv", "x_val.csv"):
        write_csv(tmp_path / "data" / name, TRAIN)
    write_parquet(tmp_path / "data" / "x_test.parquet", TEST)
    for name in ("._x_train.csv", "~$x_train.csv"):
        write_file(tmp_path / "data" / name)
    source = open_source(tmp_path / "data")
    not_read = {caught.rule: caught.examples for caught in cleaning(source).caught if caught.action == "not read"}
    assert not_read == {"other_files": ("x_val.csv",), "leftovers": ("._x_train.csv", "~$x_train.csv")}
    assert (len(source.train()), len(source.test())) == (120, 40)


def test_tables_beside_folders_that_are_not_classes_are_read(tmp_path: Path) -> None:
    for name, images in (("train.csv", TRAIN), ("test.csv", TEST)):
        write_csv(tmp_path / "data" / name, images)
    write_classes(tmp_path / "data" / "test", 2)
    source = open_source(tmp_path / "data")
    assert (len(source.train()), len(source.test())) == (120, 40)


def test_tables_of_both_splits_beside_folders_that_could_be_classes_are_refused(tmp_path: Path) -> None:
    for name in ("train.csv", "test.csv"):
        write_csv(tmp_path / "data" / name, TRAIN)
    write_classes(tmp_path / "data", 2)
    with pytest.raises(
        FmnistError, match="holds tables of train and test, and folders of pictures that could be classes"
    ):
        open_source(tmp_path / "data")


def test_an_npz_file_in_a_folder_is_read_as_if_it_were_named(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    for name in ("train.npz", "test.npz"):
        write_npz(tmp_path / "data" / name, TRAIN, TEST)
    by_folder = open_source(tmp_path / "data")
    by_name = open_source(tmp_path / "data" / "train.npz", tmp_path / "data" / "test.npz")
    assert fingerprint(by_folder.test()) == fingerprint(by_name.test()) == fingerprint(TEST)
    entry = caught(by_folder, "other_splits")
    assert entry is not None
    assert (entry.train, entry.test) == (len(TEST), len(TRAIN))


@pytest.mark.parametrize("name", ["spare.part", "a~", "core.1"])
def test_a_class_may_have_the_name_of_a_leftover_file(name: str, tmp_path: Path) -> None:
    write_classes(tmp_path / "data", 8)
    (tmp_path / "data" / "Bag").rename(tmp_path / "data" / name)
    (tmp_path / "data" / name / "0.png").rename(tmp_path / "data" / name / "core.0.png")
    source = open_source(tmp_path / "data")
    assert name in source.train().class_names
    assert cleaning(source).train_read == 16


@pytest.mark.parametrize("name", ["val", "test", "held"])
def test_a_folder_named_as_the_test_split_is_not_counted_as_left_out(name: str, tmp_path: Path) -> None:
    for split, count in (("train", 4), (name, 3)):
        write_classes(tmp_path / "data" / split, count)
    source = open_source(tmp_path / "data", tmp_path / "data" / name)
    assert (len(source.train()), len(source.test())) == (8, 6)
    for rule in ("other_splits", "other_files"):
        assert (found := caught(source, rule)) is None or not found.train, found


def test_a_test_split_beside_the_named_one_is_counted_though_its_files_have_the_same_names(tmp_path: Path) -> None:
    for seed, split in enumerate(("train", "test", "val")):
        write_classes(tmp_path / "data" / split, 3, seed=seed)
    entry = caught(open_source(tmp_path / "data", tmp_path / "data" / "val"), "other_splits")
    assert entry is not None
    assert (entry.train, entry.examples[0]) == (6, "Bag/0.png")


def test_a_replaced_test_split_is_counted(tmp_path: Path) -> None:
    for data in ("one", "two"):
        for split, count in (("train", 4), ("test", 3)):
            write_classes(tmp_path / data / split, count, seed=len(data) + (data == "two"))
    entry = caught(open_source(tmp_path / "one", tmp_path / "two"), "other_splits")
    assert entry is not None
    assert (entry.train, entry.test, entry.examples[0]) == (6, 8, "Bag/0.png")


layouts = st.fixed_dictionaries(
    {
        "train": st.sampled_from(["", "train", "Training"]),
        "test": st.sampled_from([None, "test", "TESTING"]),
        "valid": st.sampled_from([None, "val", "Dev"]),
        "beside": st.lists(
            st.sampled_from([*LEFTOVERS, "README.md", "labels.csv", "extra/Bag/0.png"]), unique=True, max_size=4
        ),
        "within": st.lists(st.sampled_from([*LEFTOVERS, "notes.txt", "broken.png"]), unique=True, max_size=4),
        "copies": st.integers(0, 2),
    }
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(layouts)
def test_every_file_is_kept_or_counted(tmp_path_factory: pytest.TempPathFactory, layout: dict[str, object]) -> None:
    folder = tmp_path_factory.mktemp("data")
    train = write_classes(folder / str(layout["train"]), 8)
    for split in ("test", "valid") if layout["train"] else ():
        if layout[split]:
            write_classes(folder / str(layout[split]), 2)
    for name in layout["within"]:  # type: ignore[attr-defined]
        write_file(train / "Bag" / name)
    for name in layout["beside"]:  # type: ignore[attr-defined]
        if layout["train"] or not name.startswith("extra"):  # without splits, it is a class
            write_file(folder / name)
    for number in range(int(str(layout["copies"]))):
        (train / "Bag" / f"copy {number}.png").write_bytes((train / "Bag" / "0.png").read_bytes())
    report = cleaning(find_source(str(folder), rules=CleaningRules(unreadable="skip"), announce=lambda _: None))
    removed = sum(
        caught.train + caught.test
        for caught in report.caught
        if caught.action in ("skipped", "dropped", "dropped from train", "not read")
    )
    # `test_kept` includes the images that were held out.
    assert report.train_kept + report.test_kept + removed == sum(path.is_file() for path in folder.rglob("*"))
    not_read = sum(caught.train + caught.test for caught in report.caught if caught.action == "not read")
    assert report.train_read + report.test_read + not_read == sum(path.is_file() for path in folder.rglob("*"))
