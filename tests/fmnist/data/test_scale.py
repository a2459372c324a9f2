"""White is the same for the whole data set, from the type or as the study states, never for one picture at a time."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray
from PIL import Image
from pyarrow import parquet

from fmnist.data.cleaning import CleaningRules
from fmnist.data.images import Images
from fmnist.data.preparation import Preparation, picture_reader, read_picture
from fmnist.data.sources import Source, find_source
from fmnist.errors import FmnistError
from tests.fmnist.data.forms import COLUMNS, NUMBERS, TEST, TRAIN, write_csv, write_idx

FAR_TOO_DARK = "far too dark"


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


def read(path: Path, white: float | None = None) -> Source:
    return find_source(str(path), rules=CleaningRules(white=white), announce=lambda _: None)


def refused(path: Path, white: float | None = None) -> str:
    with pytest.raises(FmnistError) as caught:
        read(path, white)
    assert path.name in str(caught.value)
    return str(caught.value)


def scaled(white: float, dtype: str) -> NDArray[Any]:
    """Return the training images with `white` for 255."""
    values = TRAIN.pixels * (white / 255)
    return values.astype(dtype) if dtype.startswith("f") else values.round().astype(dtype)


def write(path: Path, values: NDArray[Any]) -> Path:
    """Write the images in the form of the suffix; without a suffix, as pictures in class folders."""
    labels = TRAIN.labels
    match path.suffix:
        case ".npz":
            np.savez(path, x=values, y=labels)
        case ".csv":
            write_csv(path, Images(values, labels, NUMBERS))
        case ".parquet":
            columns = [pa.array(labels), *(pa.array(column) for column in values.reshape(-1, 784).T)]
            parquet.write_table(pa.table(columns, names=COLUMNS), path)
        case ending:
            for row, (image, label) in enumerate(zip(values, labels, strict=True)):
                (path / str(label)).mkdir(parents=True, exist_ok=True)
                Image.fromarray(image).save(path / str(label) / f"{row}{'.png' if ending == '' else ending}")
    return path


@pytest.mark.parametrize("name", ["zero_one.npz", "zero_one.csv", "zero_one.parquet", "zero_one"])
def test_pixels_of_0_and_1_are_refused_until_white_is_stated(name: str, tmp_path: Path) -> None:
    path = write(tmp_path / name, scaled(1, "u1"))
    message = refused(path)
    for part in (FAR_TOO_DARK, "from 0 to 1", "white is 255", "[cleaning] white = 1 in the study's TOML"):
        assert part in message
    source = read(path, white=1)
    assert set(np.unique(source.train().pixels)) == {0, 255}
    assert read(path, white=255).train().pixels.max() == 1


@pytest.mark.parametrize(
    ("name", "white", "dtype", "likely"),
    [
        ("grey.npz", 1, "f8", 1),
        ("grey.csv", 1, "f8", 1),
        ("grey.npz", 4095, "u2", 4095),
        ("grey.csv", 4095, "u2", 4095),
        ("grey.parquet", 4095, "u2", 4095),
        ("grey.npz", 100, "f8", 255),
    ],
)
def test_a_stated_white_gives_the_same_images(
    name: str, white: float, dtype: str, likely: float, tmp_path: Path
) -> None:
    path = write(tmp_path / name, scaled(white, dtype))
    assert f"[cleaning] white = {likely} in the study's TOML" in refused(path)
    expected = read(write(tmp_path / "same.npz", TRAIN.pixels)).train().pixels
    np.testing.assert_array_equal(read(path, white).train().pixels, expected)
    assert f"from 0 to {white * 0.9:g}, the study's cleaning.white" in refused(path, white * 0.9)


@pytest.mark.parametrize(
    ("high", "likely"),
    [
        *(
            (0.3, "1"),
            (25.5, "26"),
            (25.6, "255"),
            (256, "1023"),
            (1023, "1023"),
            (1024, "4095"),
            (4096, "16383"),
            (16384, "65535"),
        ),
        *((65534, "65535"), (65535, "65535"), (65536, "65536"), (2_000_000, "2e+06")),
    ],
)
def test_the_proposed_white_is_the_next_usual_one(high: float, likely: str, tmp_path: Path) -> None:
    path = write(tmp_path / "grey.npz", np.where(TRAIN.pixels > 99, high, 0))
    assert f"[cleaning] white = {likely} in the study's TOML" in refused(path)


@pytest.mark.parametrize("name", ["odd.npz", "odd.csv"])
@pytest.mark.parametrize("value", [-1, np.inf])
def test_no_white_is_proposed_if_none_can_be_right(value: float, name: str, tmp_path: Path) -> None:
    values = TRAIN.pixels.astype(float)
    values[3, 4, 5] = value
    assert "white =" not in refused(write(tmp_path / name, values))


def test_the_17_greys_of_small_digits_are_refused_until_white_is_stated(tmp_path: Path) -> None:
    path = write(tmp_path / "digits.npz", scaled(16, "u1"))
    assert "[cleaning] white = 16 in the study's TOML" in refused(path)
    assert read(path, white=16).train().pixels.max() == 255


@pytest.mark.parametrize(("white", "high"), [(255, "255"), (4095, "4,095")])
def test_16_bit_pictures_with_fewer_used_bits_are_refused_until_white_is_stated(
    white: int, high: str, tmp_path: Path
) -> None:
    path = write(tmp_path / "dim", scaled(white, "u2"))
    message = refused(path)
    for part in (
        FAR_TOO_DARK,
        f"from 0 to {high}, and white is 65,535",
        f"[cleaning] white = {white} in the study's TOML",
    ):
        assert part in message
    expected = read(write(tmp_path / "same", TRAIN.pixels)).train().pixels
    np.testing.assert_array_equal(read(path, white=white).train().pixels, expected)
    np.testing.assert_array_equal(read(write(tmp_path / "whole", scaled(65535, "u2"))).train().pixels, expected)
    assert f"pixels must be from 0 to white, and cleaning.white is 100; got pixels from 0 to {high}" in refused(
        path, white=100
    )


def write_floats(folder: Path, values: NDArray[Any]) -> Path:
    for row, (image, label) in enumerate(zip(values, TRAIN.labels, strict=True)):
        (folder / str(label)).mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / str(label) / f"{row}.tif")
    return folder


def test_float_pictures_follow_the_same_rule_and_none_is_scaled_by_itself(tmp_path: Path) -> None:
    expected = read(write(tmp_path / "same", TRAIN.pixels)).train().pixels
    np.testing.assert_array_equal(
        read(write_floats(tmp_path / "bytes", TRAIN.pixels.astype("f4"))).train().pixels, expected
    )
    shares = write_floats(tmp_path / "shares", scaled(1, "f4"))
    assert "[cleaning] white = 1 in the study's TOML" in refused(shares)
    np.testing.assert_array_equal(read(shares, white=1).train().pixels, expected)
    dim = TRAIN.pixels / np.float32(255)
    dim[:60] /= 4  # half of the pictures are dark and must stay dark
    pixels = read(write_floats(tmp_path / "half", dim), white=1).train().pixels
    assert (pixels.max(axis=(1, 2)) <= 64).sum() >= 40
    below = write_floats(tmp_path / "below", scaled(1, "f4") - np.float32(0.5))
    assert "from -0.5 to 0.5" in refused(below)
    assert "without negative values" in refused(below, white=1)
    one_negative = TRAIN.pixels.astype("f4")
    one_negative[7, 0, 0] = -2
    assert "got pixels from -2 to 255" in refused(write_floats(tmp_path / "one", one_negative)), (
        "one pixel of one picture"
    )
    above = write_floats(tmp_path / "above", TRAIN.pixels.astype("f4") * 2)
    assert "white is 255 unless the study says otherwise; got pixels from 0 to 510" in refused(above)
    fractions = read(write_floats(tmp_path / "fractions", TRAIN.pixels - np.float32(0.4) * (TRAIN.pixels > 0)))
    np.testing.assert_array_equal(fractions.train().pixels, expected, "values are rounded")


def test_idx_files_follow_the_same_rule(tmp_path: Path) -> None:
    few = [Images((images.pixels > 99).astype(np.uint8), images.labels, NUMBERS) for images in (TRAIN, TEST)]
    path = write_idx(tmp_path / "idx", *few)
    assert FAR_TOO_DARK in refused(path)
    assert read(path, white=1).train().pixels.max() == 255
    assert "cleaning.white is 0.5; got pixels from 0 to 1" in refused(path, white=0.5)


def test_a_set_with_one_bright_picture_is_not_too_dark(tmp_path: Path) -> None:
    values = scaled(20, "u1")
    values[0] = TRAIN.pixels[0]
    assert read(write(tmp_path / "set", values)).train().pixels.max() > 20


def test_a_black_picture_is_not_too_dark(tmp_path: Path) -> None:
    for dtype in ("u1", "u2", "f4"):
        Image.fromarray(np.zeros((28, 28), dtype)).save(tmp_path / "black.tif")
        assert picture_reader(Preparation())(tmp_path / "black.tif").max() == 0


@pytest.mark.parametrize(("dtype", "white"), [("u2", 255), ("f4", 65535)])
def test_a_single_picture_of_another_white_is_refused(dtype: str, white: float, tmp_path: Path) -> None:
    Image.fromarray(scaled(white, dtype)[0]).save(tmp_path / "a.tif")
    with pytest.raises(FmnistError, match=r"a\.tif are from 0 to .* as PNG of 8 bits"):
        read_picture(tmp_path / "a.tif")


def test_saved_images_keep_their_white_and_take_no_other(tmp_path: Path) -> None:
    dark = Images(TRAIN.pixels // 10, TRAIN.labels, TRAIN.class_names)
    write_csv(tmp_path / "dark.csv", dark)
    source = read(tmp_path / "dark.csv", white=255)
    source.save(tmp_path / "saved.npz")
    for white in (None, 255):
        np.testing.assert_array_equal(read(tmp_path / "saved.npz", white).train().pixels, source.train().pixels)
    with pytest.raises(FmnistError, match=r"prepared when they were saved, with 255 as white; .* got 200"):
        read(tmp_path / "saved.npz", white=200)
    write_csv(tmp_path / "bright.csv", TRAIN)
    bright = read(tmp_path / "bright.csv")
    bright.save(tmp_path / "usual.npz")
    with pytest.raises(FmnistError, match=r"with the usual one as white; cleaning.white must be left out, got 200"):
        read(tmp_path / "usual.npz", white=200)
