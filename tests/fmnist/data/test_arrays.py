import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from fmnist.data import synthetic
from fmnist.data.arrays import read_npz, write_npz
from fmnist.data.images import Images
from fmnist.data.pictures import open_picture
from fmnist.data.scale import Scale
from fmnist.errors import FmnistError
from tests.fmnist.data.npz_files import LABELS, PIXELS, WORDS, npy, read, refused, zipped

RNG = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("images", "labels"),
    [
        ("x_train", "y_train"),
        ("X_train", "Y_train"),
        ("X_TRAIN", "y_train"),
        ("train_images", "train_labels"),
        ("images", "labels"),
        ("pixels", "labels"),
        ("X", "y"),
        ("data", "target"),
    ],
)
def test_usual_keys_are_recognised(tmp_path: Path, images: str, labels: str) -> None:
    raw = read(tmp_path, **{images: PIXELS, labels: LABELS})
    np.testing.assert_array_equal(raw.pixels, PIXELS)
    assert raw.labels.tolist() == WORDS
    assert (raw.missing, raw.names, raw.classes, raw.ignored) == (None, None, (), ())


@pytest.mark.parametrize(("images", "labels"), [("x_test", "Y_test"), ("test_images", "test_labels")])
def test_both_splits_are_read(tmp_path: Path, images: str, labels: str) -> None:
    np.savez(
        tmp_path / "a.npz",
        allow_pickle=True,
        **{"x_train": PIXELS, "y_train": LABELS, images: PIXELS[:2], labels: LABELS[:2]},
    )
    train, test = read_npz(tmp_path / "a.npz")
    assert test is not None
    assert (len(train), len(test)) == (5, 2)
    np.testing.assert_array_equal(test.pixels, PIXELS[:2])
    assert test.labels.tolist() == WORDS[:2]


def test_other_arrays_are_listed_as_ignored(tmp_path: Path) -> None:
    assert read(tmp_path, x_train=PIXELS, y_train=LABELS, x_valid=PIXELS, note=np.array(1)).ignored == (
        "note",
        "x_valid",
    )


@pytest.mark.parametrize("shape", [(5, 16), (5, 4, 4, 1), (5, 1, 4, 4)])
@pytest.mark.parametrize("order", ["C", "F"])
def test_all_layouts_of_grey_images_are_the_same(tmp_path: Path, shape: tuple[int, ...], order: Any) -> None:
    np.testing.assert_array_equal(
        read(tmp_path, x=np.array(PIXELS.reshape(shape), order=order), y=LABELS).pixels, PIXELS
    )


@pytest.mark.parametrize("dtype", ["u1", "i2", ">i4", "i8", "u8", "f2", ">f4", "f8", "g"])
def test_all_numbers_that_hold_greys_are_the_same(tmp_path: Path, dtype: str) -> None:
    raw = read(tmp_path, x=PIXELS.astype(dtype), y=LABELS)
    np.testing.assert_array_equal(raw.pixels, PIXELS)
    assert raw.pixels.dtype == np.uint8
    assert raw.missing is None


@pytest.mark.parametrize("channels", [3, 4])
def test_colours_are_converted_to_grey_as_in_picture_files(tmp_path: Path, channels: int) -> None:
    colours = RNG.integers(0, 256, (5, 30, 20, channels), np.uint8)
    expected = []
    for image in colours:
        Image.fromarray(image).save(tmp_path / "same.png")
        expected.append(open_picture(tmp_path / "same.png", Scale()))
    for dtype in ("u1", "f4"):
        np.testing.assert_array_equal(read(tmp_path, x=colours.astype(dtype), y=LABELS).pixels, expected)


def test_nan_is_a_missing_pixel(tmp_path: Path) -> None:
    holes = RNG.random((5, 4, 4)) < 0.3
    raw = read(tmp_path, x=np.where(holes, np.nan, PIXELS), y=LABELS)
    assert raw.missing is not None
    np.testing.assert_array_equal(raw.missing, holes)
    np.testing.assert_array_equal(raw.pixels, np.where(holes, 0, PIXELS))
    assert read(tmp_path, x=np.where(holes, np.nan, 0), y=LABELS).extents[0].high == 0, "a missing pixel has no grey"


def test_a_pixel_with_a_missing_channel_is_missing(tmp_path: Path) -> None:
    colours = np.full((2, 4, 4, 3), 9.0)
    colours[1, 2, 3, 1] = np.nan
    raw = read(tmp_path, x=colours, y=LABELS[:2])
    assert raw.missing is not None
    assert np.argwhere(raw.missing).tolist() == [[1, 2, 3]]
    assert raw.pixels[1, 2, 3] == 0


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (LABELS[:, None], WORDS),
        (LABELS.astype(np.uint8), WORDS),
        (LABELS - 3, ["0", "-3", "9", "0", "-2"]),
        (np.array([3, 0, np.nan, 3, 1], np.float32), ["3", "0", "", "3", "1"]),
        (np.array([True, False, False, True, True]), ["1", "0", "0", "1", "1"]),
        (np.array([2**63, 0, 2**64 - 1, 1, 1], np.uint64), [str(2**63), "0", str(2**64 - 1), "1", "1"]),
        (np.array([" Shirt", "?", "Größe", "NaN", ""]), ["Shirt", "", "Größe", "", ""]),
        (np.array(["é", "a", "", "b", "😀"], ">U3"), ["é", "a", "", "b", "😀"]),
        (np.array([b"Shirt ", b"N/A", "Größe".encode(), b"x", b""]), ["Shirt", "", "Größe", "x", ""]),
        (np.eye(13)[LABELS], WORDS),
        (np.eye(13, dtype=bool)[LABELS], WORDS),
        (np.eye(2)[[1, 0, 1, 1, 0]], ["1", "0", "1", "1", "0"]),
        (np.array([2.0**53 - 1, 0, 1, 1, 1]), [str(2**53 - 1), "0", "1", "1", "1"]),
    ],
)
def test_labels_are_read_as_written(tmp_path: Path, labels: NDArray[Any], expected: list[str]) -> None:
    raw = read(tmp_path, x=PIXELS, y=labels)
    assert raw.labels.tolist() == expected
    assert raw.labels.dtype.kind == "U"


@pytest.mark.parametrize("labels", [np.array([1, 0, 2, 1, 1]), np.array([1, 0, 2, 1, 1.0]), np.eye(3)[[1, 0, 2, 1, 1]]])
@pytest.mark.parametrize("names", [["Bag", "none", "Größe"], [b"Bag", b"none", "Größe".encode()]])
def test_whole_numbers_are_indices_into_class_names(tmp_path: Path, labels: NDArray[Any], names: list[Any]) -> None:
    raw = read(tmp_path, x=PIXELS, y=labels, class_names=np.array(names))
    assert raw.labels.tolist() == ["none", "Bag", "Größe", "none", "none"]
    assert raw.classes == ("Bag", "none", "Größe")


def test_labels_that_are_names_are_kept_beside_class_names(tmp_path: Path) -> None:
    raw = read(tmp_path, x=PIXELS[:2], y=np.array(["b", "a"]), class_names=np.array(["a", "b", "c"]))
    assert raw.labels.tolist() == ["b", "a"]
    assert raw.classes == ("a", "b", "c")


def with_pixel(value: float, dtype: str) -> NDArray[Any]:
    pixels = PIXELS.astype(dtype)
    pixels[2, 1, 3] = value
    return pixels


@pytest.mark.parametrize(
    ("arrays", "parts"),
    [
        ({"x": with_pixel(256, "i4"), "y": LABELS}, ["x row 3: pixel [1, 3]", "0 to 255; got 256."]),
        ({"x": with_pixel(-1, "i8"), "y": LABELS}, ["x row 3: pixel [1, 3]", "got -1."]),
        ({"X": with_pixel(7.5, "f4"), "y": LABELS}, ["X row 3: pixel [1, 3]", "got 7.5."]),
        ({"x": with_pixel(np.inf, "f2"), "y": LABELS}, ["x row 3: pixel [1, 3]", "got inf."]),
        ({"x": PIXELS / 255, "y": LABELS}, ["x row 1: pixel [0, ", "between 0 and 1: multiply by 255"]),
        ({"x": np.where(PIXELS > 127, 0.5, 0), "y": LABELS}, ["between 0 and 1: multiply by 255", "white = 1 in"]),
        ({"x": np.where(PIXELS > 127, 1.5, 0), "y": LABELS}, ["Bring the pixels to that range", "from 0 to 1.5."]),
        ({"x": PIXELS / 255 - 0.5, "y": LABELS}, ["Bring the pixels to that range"]),
        ({"x": PIXELS > 9, "y": LABELS}, ["x: pixels must be numbers from 0 to 255", "got bool", "255 for white"]),
        ({"x": PIXELS.astype(str), "y": LABELS}, ["x: pixels must be numbers from 0 to 255", "got <U3"]),
        ({"x": PIXELS.astype(complex), "y": LABELS}, ["x: an array must hold numbers or strings", "got complex128"]),
        ({"x": PIXELS.astype(object), "y": LABELS}, ["x: Python objects", "dtype uint8"]),
        ({"x": PIXELS, "y": np.array(WORDS, object)}, ["y: Python objects", "dtype str"]),
        ({"x": PIXELS[..., None, None], "y": LABELS}, ["[N, H, W]", "got [5, 4, 4, 1, 1]"]),
        ({"x": PIXELS[:, 0, :3], "y": LABELS}, ["[N, H x H]", "got [5, 3]"]),
        ({"x": PIXELS[:, 0, 0], "y": LABELS}, ["got [5]"]),
        ({"x": PIXELS[:0], "y": LABELS[:0]}, ["at least one row", "[0, 4, 4]"]),
        ({"x": PIXELS[:, :0], "y": LABELS}, ["at least one row", "[5, 0, 4]"]),
        ({"x": np.array(3), "y": LABELS}, ["at least one row", "[]"]),
        ({"x": PIXELS, "y": LABELS[:4]}, ["5 images and 4 y"]),
        ({"x": PIXELS, "y": np.array([3, 0, 1.5, 3, 1])}, ["y row 3: a label must be a whole number", "got 1.5"]),
        ({"x": PIXELS, "y": np.array([3, 0, 1, np.inf, 1])}, ["y row 4: a label must be a whole number", "got inf"]),
        (
            {"x": PIXELS, "y": np.array([3, 2.0**53, 1, 3, 1])},
            ["y row 2: a label must be a whole number", "got 9007199254740992"],
        ),
        ({"x": PIXELS, "y": np.array([b"a", b"\xff", b"a", b"a", b"a"])}, ["y row 2: text must be UTF-8"]),
        ({"x": PIXELS, "y": np.array(["a", "\ud800", "a", "a", "a"])}, ["y row 2: text must be UTF-32"]),
        ({"x": PIXELS, "y": np.array([65, 0x110000, 65, 65, 65], "<u4").view("<U1")}, ["y row 2: text must be UTF-32"]),
        ({"x": PIXELS, "y": np.ones((5, 3))}, ["y row 1: a row of one-hot", "got [1.0, 1.0, 1.0]"]),
        ({"x": PIXELS, "y": np.zeros((5, 3), bool)}, ["y row 1: a row of one-hot"]),
        (
            {"x": PIXELS, "y": np.eye(30)[LABELS] + np.eye(30)[LABELS + 1] / 2},
            ["y row 1: a row of one-hot", f"got {[0.0, 0.0, 0.0, 1.0, 0.5, *[0.0] * 15]}."],
        ),
        ({"x": PIXELS, "y": np.full((5, 3), np.nan)}, ["y row 1: a row of one-hot"]),
        ({"x": PIXELS, "y": np.full((5, 2), "a")}, ["labels must be [N]", "[5, 2]"]),
        ({"x": PIXELS, "y": np.zeros((5, 1, 2))}, ["labels must be [N]", "[5, 1, 2]"]),
        (
            {"x": PIXELS, "y": LABELS, "class_names": np.array(["a", "b"])},
            ["y row 1", "an index into the 2 class_names", "got 3"],
        ),
        ({"x": PIXELS, "y": LABELS - 1, "class_names": np.array(list("abcdefghijklm"))}, ["y row 2", "got -1"]),
        (
            {"x": PIXELS, "y": LABELS, "class_names": np.arange(13)},
            ["class_names: class names must be one string for each class", "int64"],
        ),
        (
            {"x": PIXELS, "y": LABELS, "class_names": np.array([["a"]])},
            ["class_names: class names must be one string", "[1, 1]"],
        ),
        (
            {"x": PIXELS, "y": LABELS, "class_names": np.array(["a", "a "])},
            ["class_names: class names must be different", "'a', 'a'"],
        ),
        (
            {"x": PIXELS, "y": LABELS, "class_names": np.array(["a", " "])},
            ["class_names: class names must be different and not empty"],
        ),
        ({"x": PIXELS, "y": LABELS, "class_names": np.array(["a"] * 25)}, [f"got {', '.join([repr('a')] * 20)}. Save"]),
        ({"x": PIXELS, "X": PIXELS, "y": LABELS}, ["each array once", "X.npy"]),
        ({"x_trian": PIXELS, "y_train": LABELS}, ["got x_trian, y_train.", "Did you mean 'x_train + y_train'?"]),
        ({"foo": PIXELS}, ["got foo.", "Valid: data + target, images + labels, pixels + labels, "]),
        ({}, ["got no array."]),
        ({"x": PIXELS, "y": LABELS, "x_test": PIXELS}, ["both x_test and y_test or neither"]),
        ({"x": PIXELS, "y": LABELS, "test_labels": LABELS}, ["both test_images and test_labels or neither"]),
    ],
)
def test_invalid_arrays_are_refused_with_the_reason(tmp_path: Path, arrays: dict[str, Any], parts: list[str]) -> None:
    message = refused(tmp_path, **arrays)
    assert all(part in message for part in parts), message


def test_a_file_in_the_archive_that_is_not_an_array_is_not_listed_as_ignored(tmp_path: Path) -> None:
    with zipfile.ZipFile(zipped(tmp_path / "a.npz", x=npy(PIXELS), y=npy(LABELS)), "a") as archive:
        archive.writestr("notes.txt", "about")
    raw, _ = read_npz(tmp_path / "a.npz")
    np.testing.assert_array_equal(raw.pixels, PIXELS)
    assert raw.ignored == ()


def test_an_array_written_by_python_2_is_read_without_a_warning(tmp_path: Path) -> None:
    written = npy(PIXELS).replace(b"(5, 4, 4), }   ", b"(5L, 4L, 4L), }")
    assert b"5L" in written
    raw, _ = read_npz(zipped(tmp_path / "a.npz", x=written, y=npy(LABELS)))
    np.testing.assert_array_equal(raw.pixels, PIXELS)


def test_written_images_are_read_back(tmp_path: Path) -> None:
    train, test = synthetic.draw(50, seed=1), synthetic.draw(20, seed=2)
    path = tmp_path / "clean.npz"
    path.write_bytes(b"an older file")
    write_npz(path, train, test)
    assert [file.name for file in tmp_path.iterdir()] == ["clean.npz"]
    for raw, images in zip(read_npz(path), (train, test), strict=True):
        assert raw is not None
        np.testing.assert_array_equal(raw.pixels, images.pixels)
        assert raw.labels.tolist() == [images.class_names[label] for label in images.labels]
        assert raw.classes == images.class_names
        assert raw.missing is None
    first = path.read_bytes()
    write_npz(path, train, test)
    assert path.read_bytes() == first


def test_an_unwritable_path_is_refused(tmp_path: Path) -> None:
    images = Images(np.zeros((1, 28, 28), np.uint8), np.zeros(1, np.int64), ("a",))
    with pytest.raises(FmnistError, match=r"a\.npz must be writable: No such file"):
        write_npz(tmp_path / "absent" / "a.npz", images, images)
    (tmp_path / "folder.npz").mkdir()
    with pytest.raises(FmnistError, match=r"folder\.npz must be writable"):
        write_npz(tmp_path / "folder.npz", images, images)
    assert [file.name for file in tmp_path.iterdir()] == ["folder.npz"]
