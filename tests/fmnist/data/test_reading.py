"""One data set in every supported form."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fmnist.data.arrays import write_npz
from fmnist.data.cleaning import CleaningRules
from fmnist.data.sources import Source, find_source, fingerprint
from fmnist.errors import FmnistError
from tests.fmnist.data.forms import (
    COLUMNS,
    FORMS,
    NUMBERS,
    TEST,
    TRAIN,
    as_pictures,
    open_source,
    write_csv,
    write_folder,
    write_idx,
    write_parquet,
)


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_arrays(form: Callable[[Path], Source], tmp_path: Path) -> None:
    source = form(tmp_path)
    for images, expected in ((source.train(), TRAIN), (source.test(), TEST)):
        np.testing.assert_array_equal(images.pixels, expected.pixels)
        np.testing.assert_array_equal(images.labels, expected.labels)
        assert images.pixels.dtype == np.uint8
        assert images.labels.dtype == np.int64
        assert images.class_names == NUMBERS
        assert fingerprint(images) == fingerprint(expected)
    assert source.cleaning is not None
    assert source.cleaning.is_clean
    assert not source.cleaning.resized


def change(path: Path) -> None:
    """Write other images to the file, in the same form."""
    images = TRAIN.take(np.arange(60)) if "train" in path.name else TEST.take(np.arange(30))
    match path.suffix:
        case ".csv" | ".gz":
            write_csv(path, images)
        case ".parquet":
            write_parquet(path, images)
        case ".npz":
            write_npz(path, TRAIN, images)
        case ".png":
            path.unlink()
        case _:  # the last pixel of an idx file
            content = path.read_bytes()
            path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))


@pytest.mark.parametrize("form", FORMS)
def test_cached_data_are_reused_until_a_file_changes(form: Callable[[Path], Source], tmp_path: Path) -> None:
    source = form(tmp_path)
    assert source.path is not None
    data, test = Path(source.path), Path(source.test_path) if source.test_path else None
    assert open_source(data, test).root == source.root
    change(next(path for path in sorted(data.rglob("*")) if path.is_file()) if data.is_dir() else data)
    assert open_source(data, test).root != source.root


def test_missing_pixels_are_stored_with_the_images(tmp_path: Path) -> None:
    lines = write_csv(tmp_path / "train.csv", TRAIN).read_text().splitlines()
    cells = lines[4].split(",")
    cells[COLUMNS.index("pixel407")] = ""
    lines[4] = ",".join(cells)
    (tmp_path / "train.csv").write_text("\n".join(lines))
    rules = CleaningRules(missing_pixels="median")
    test = write_csv(tmp_path / "test.csv", TEST)
    source = find_source(str(tmp_path / "train.csv"), test=str(test), rules=rules, announce=lambda _: None)
    others = np.arange(len(TRAIN)) != 3
    median_of_class, median_of_all = (
        np.median(TRAIN.pixels[rows, 14, 14]) for rows in (others & (TRAIN.labels == TRAIN.labels[3]), others)
    )
    assert abs(median_of_class - median_of_all) > 1
    assert source.train().pixels[3, 14, 14] == pytest.approx(median_of_class, abs=0.5)
    assert source.train_for_scoring().pixels[3, 14, 14] == pytest.approx(median_of_all, abs=0.5)
    pictures = source.caught["missing_pixels"]
    assert pictures.names == ("row 4",)
    assert pictures.missing is not None
    assert np.argwhere(pictures.missing).tolist() == [[0, 14, 14]]


def test_a_test_split_is_held_out_of_a_single_file(tmp_path: Path) -> None:
    lines: list[str] = []
    source = find_source(str(write_csv(tmp_path / "shop.csv", TRAIN)), announce=lines.append)
    assert (len(source.train()), len(source.test())) == (103, 17)
    assert lines[-1] == (
        "Data: shop.csv: 103 training and 17 test images, the latter held out of the former because no test split was "
        "given; nothing had to be cleaned."
    )


def test_saved_images_can_be_read_as_data(tmp_path: Path) -> None:
    source = as_pictures(tmp_path)
    (tmp_path / "saved").mkdir()
    source.save(tmp_path / "saved" / "cleaned.npz")
    again = open_source(tmp_path / "saved")
    assert fingerprint(again.train()) == fingerprint(source.train())
    assert fingerprint(again.test()) == fingerprint(source.test())


def test_pictures_of_any_size_in_class_folders_are_read(tmp_path: Path) -> None:
    for number, name in enumerate(("Schuh", "Hemd", "帽子")):
        for i in range(14):
            picture = Image.new("RGB", (60 + i, 45), (20 * number, 3 * i, 200))
            picture.putpixel((i, number), (255, 255, 255))
            (tmp_path / "shop" / name).mkdir(parents=True, exist_ok=True)
            picture.save(tmp_path / "shop" / name / f"{i}.JPG", format="JPEG")
    source = open_source(tmp_path / "shop")
    assert source.train().class_names == ("Hemd", "Schuh", "帽子")
    assert source.cleaning is not None
    assert source.cleaning.resized
    assert (len(source.train()), len(source.test())) == (36, 6)


def test_an_unreadable_picture_is_named_and_skipped_only_on_request(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "pictures", TRAIN)
    (folder / "3" / "broken.png").write_bytes(b"no picture")
    with pytest.raises(FmnistError, match=r"3/broken\.png.*--skip-unreadable"):
        open_source(folder)
    source = find_source(str(folder), rules=CleaningRules(unreadable="skip"), announce=lambda _: None)
    assert source.cleaning is not None
    caught = source.cleaning.caught[0]
    assert (caught.rule, caught.train, caught.examples) == ("unreadable", 1, ("3/broken.png",))
    assert (source.cleaning.train_read, source.cleaning.train_kept) == (121, 103)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("shop.txt", r"Data must be a CSV .*; .*shop\.txt has another suffix"),
        ("shp.csv", r"shp\.csv does not exist\. Did you mean 'shop\.csv'"),
        ("empty", r"empty"),
        ("tables", r"one whose name contains 'train' and one with 'test'; .* holds a\.csv, b\.csv"),
        ("mixed", r"must hold all four of them; .*mixed has no t10k-labels"),
    ],
)
def test_a_path_that_is_not_a_data_set_is_refused(name: str, message: str, tmp_path: Path) -> None:
    write_csv(tmp_path / "shop.csv", TRAIN)
    (tmp_path / "shop.txt").write_text("label,pixel1")
    (tmp_path / "empty").mkdir()
    write_csv(tmp_path / "tables" / "a.csv", TRAIN)
    write_csv(tmp_path / "tables" / "b.csv", TEST)
    (write_idx(tmp_path / "mixed", TRAIN, TEST) / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(FmnistError, match=message):
        open_source(tmp_path / name, tmp_path / "shop.csv" if name == "mixed" else None)


def test_a_test_split_without_data_is_refused() -> None:
    with pytest.raises(FmnistError, match="--test must name the test split"):
        find_source("synthetic", test="test.csv", announce=lambda _: None)


def test_refused_data_are_not_cached(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "shop.csv", TRAIN)
    path.write_text(path.read_text().replace("label", "class", 1))
    with pytest.raises(FmnistError, match="label"):
        open_source(path)
    assert [path for path in (tmp_path / "cache").rglob("*") if path.suffix != ".lock" and path.is_file()] == []


@pytest.mark.parametrize("name", ["~no-such-user/data", "", "x" * 5_000])
def test_an_odd_name_is_an_error_without_a_traceback(name: str) -> None:
    with pytest.raises(FmnistError, match="Data "):
        find_source(name, announce=lambda _: None)


def test_a_misspelt_synthetic_is_recognised() -> None:
    with pytest.raises(FmnistError, match="Did you mean 'synthetic'"):
        find_source("syntetic", announce=lambda _: None)
