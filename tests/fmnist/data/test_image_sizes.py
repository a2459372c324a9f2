"""Images of other sizes than 28 x 28, and in colour: from every form of data, cleaned, prepared, and read again."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from fmnist.data import official
from fmnist.data.clean import clean
from fmnist.data.cleaning import CleaningRules
from fmnist.data.pictures import letterboxed
from fmnist.data.preparation import CENTRED, Preparation, picture_reader
from fmnist.data.raw import Raw
from fmnist.data.sources import Source, find_source
from fmnist.size import DEFAULT_SIZE, Size
from tests.fmnist.data.official_files import ARRAYS, FILES
from tests.fmnist.data.picture_sets import KEEP
from tests.fmnist.data.raw_rows import WHERE, counts

COLOURS = {"blue": (0, 0, 255), "red": (255, 0, 0)}
SIZES = [Size(side, channels) for side in (28, 32, 48, 64) for channels in (1, 3)]
sizes = st.sampled_from(SIZES)


def read(path: Path, size: Size, **options: Any) -> Source:
    return find_source(str(path), rules=KEEP, size=size, announce=lambda _: None, **options)


def write_pictures(folder: Path, extents: tuple[tuple[int, int], ...] = ((40, 30), (20, 50))) -> Path:
    """Pictures of these widths and heights in two classes, told apart by their colour alone."""
    for name, colour in COLOURS.items():
        for split in ("train", "test"):
            place = folder / split / name
            place.mkdir(parents=True)
            for row, extent in enumerate(extents):
                picture = Image.new("RGB", extent, (20, 30, 40))
                picture.paste(colour, (5, 5, extent[0] - 5, extent[1] - 5 - row))
                picture.save(place / f"{row}.png")
    return folder


@given(sizes, st.integers(1, 90), st.integers(1, 90), st.integers(0, 2**32))
@example(Size(48, 3), 48, 48, 0)
@example(Size(28, 1), 1, 90, 0)
@settings(deadline=None)
def test_a_letterboxed_picture_keeps_its_ratio_in_the_middle_of_its_ground(
    size: Size, height: int, width: int, seed: int
) -> None:
    side = size.side
    ground = np.random.default_rng(seed).integers(0, 256, size.shape[2:]).astype(np.uint8)
    image = letterboxed(np.full((height, width, *size.shape[2:]), ground, np.uint8), side)
    assert image.shape == size.shape
    assert (image == ground).all(), "a picture of one colour stays one"
    content = np.full((height, width, *size.shape[2:]), ground, np.uint8)
    content[height // 4 : -(height // 4) or None, width // 4 : -(width // 4) or None] = 255 - ground // 2
    image = letterboxed(content, side)
    assert image.shape == size.shape
    np.testing.assert_array_equal(letterboxed(image, side), image, "an image of that size stays as it is")
    margin = (side - max(1, round(side * min(height, width) / max(height, width)))) // 2
    outer = image[:margin] if width > height else image[:, :margin]
    assert (outer == ground).all() or min(height, width) < 4, "the margins have the colour of the corners"


@given(st.integers(1, 90), st.integers(1, 90), st.sampled_from((28, 32, 48, 64)), st.integers(0, 2**32))
@settings(deadline=None)
def test_a_grey_picture_is_the_same_in_each_channel(height: int, width: int, side: int, seed: int) -> None:
    grey = np.random.default_rng(seed).integers(0, 256, (height, width)).astype(np.uint8)
    in_colour = letterboxed(np.repeat(grey[..., None], 3, axis=2), side)
    np.testing.assert_array_equal(in_colour, np.repeat(letterboxed(grey, side)[..., None], 3, axis=2))


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_a_folder_is_read_at_the_size_and_new_pictures_as_the_training_pictures_were(
    tmp_path: Path, size: Size
) -> None:
    source = read(write_pictures(tmp_path / "photos"), size)
    train, report = source.train(), source.cleaning
    assert train.pixels.shape == (4, *size.shape)
    assert source.preparation.size == size
    assert report is not None
    assert (report.size, report.resized, report.colourless) == (size, True, False)
    files = [tmp_path / "photos" / "train" / name / f"{row}.png" for row in (0, 1) for name in ("blue", "red")]
    reader = picture_reader(source.preparation)
    images: dict[str, list[Any]] = {train.class_names[label]: [] for label in train.labels}
    for pixels, label in zip(train.pixels, train.labels, strict=True):
        images[train.class_names[label]].append(pixels.tolist())
    for file in files:
        assert reader(file).tolist() in images[file.parent.name]
    if size.channels == 3:
        middle = {
            train.class_names[label]: image[size.side // 2, size.side // 2]
            for image, label in zip(train.pixels, train.labels, strict=True)
        }
        assert {name: tuple(colour.tolist()) for name, colour in middle.items()} == COLOURS


def test_the_parsed_pictures_of_one_size_are_not_those_of_another(tmp_path: Path) -> None:
    folder = write_pictures(tmp_path / "photos")
    shapes = [read(folder, size).train().pixels.shape[1:] for size in (*SIZES, *SIZES)]
    assert shapes == [size.shape for size in (*SIZES, *SIZES)]


def test_colour_arrays_keep_their_colours_and_grey_ones_have_three_equal_channels(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    colours, labels = rng.integers(0, 256, (6, 48, 48, 3), np.uint8), np.arange(6) % 2
    np.savez(tmp_path / "a.npz", x_train=colours, y_train=labels, x_test=colours, y_test=labels)
    source = read(tmp_path / "a.npz", Size(48, 3))
    np.testing.assert_array_equal(source.train().pixels, colours)
    alpha = np.concatenate([colours, np.full((6, 48, 48, 1), 255, np.uint8)], axis=3)
    np.savez(tmp_path / "b.npz", x_train=alpha, y_train=labels, x_test=alpha, y_test=labels)
    np.testing.assert_array_equal(read(tmp_path / "b.npz", Size(48, 3)).train().pixels, colours)
    np.savez(tmp_path / "c.npz", x_train=colours[..., 0], y_train=labels, x_test=colours[..., 0], y_test=labels)
    said: list[str] = []
    grey = find_source(str(tmp_path / "c.npz"), rules=KEEP, size=Size(48, 3), announce=said.append)
    np.testing.assert_array_equal(grey.train().pixels, np.repeat(colours[..., :1], 3, axis=3))
    assert grey.cleaning is not None
    assert grey.cleaning.colourless
    assert "no image has a colour, so its three channels are equal" in said[-1]


def test_saved_images_are_read_as_they_are_at_their_size_and_only_scaled_at_another(tmp_path: Path) -> None:
    source = read(write_pictures(tmp_path / "photos"), Size(48, 3))
    source.save(tmp_path / "cleaned.npz")
    np.testing.assert_array_equal(read(tmp_path / "cleaned.npz", Size(48, 3)).train().pixels, source.train().pixels)
    smaller = read(tmp_path / "cleaned.npz", Size(32, 3)).train().pixels
    expected = [Image.fromarray(image).resize((32, 32), Image.Resampling.LANCZOS) for image in source.train().pixels]
    np.testing.assert_array_equal(smaller, np.stack([np.asarray(image) for image in expected]))


def test_the_official_files_are_scaled_and_a_picture_of_one_like_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fmnist.data.sources.unofficial", lambda _: [])
    for name, content in FILES.items():
        (tmp_path / name).write_bytes(content)
    said: list[str] = []
    source = find_source(str(tmp_path), rules=KEEP, size=Size(48, 3), announce=said.append)
    images = ARRAYS["train-images-idx3-ubyte"]
    scaled = np.stack([np.asarray(Image.fromarray(one).resize((48, 48), Image.Resampling.LANCZOS)) for one in images])
    np.testing.assert_array_equal(source.train().pixels, np.repeat(scaled[..., None], 3, axis=3))
    assert said[-1].endswith(", scaled to 48 x 48 pixels, its grey in each of 3 channels.")
    assert source.name == official.FASHION_MNIST
    assert source.cleaning is not None
    assert source.cleaning.resized


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_a_picture_of_fashion_mnist_is_scaled_as_the_data_set_is(tmp_path: Path, size: Size) -> None:
    source = find_source("synthetic", size=size, announce=lambda _: None)
    small = find_source("synthetic", announce=lambda _: None)
    reader = picture_reader(source.preparation)
    assert source.preparation == Preparation(form=CENTRED, side=size.side, channels=size.channels)
    for original, image in zip(small.train().pixels[:20], source.train().pixels[:20], strict=True):
        for name, pixels in (("as-drawn", original), ("as-scaled", image)):
            Image.fromarray(pixels).save(tmp_path / f"{name}.png")
            np.testing.assert_array_equal(reader(tmp_path / f"{name}.png"), image)


def rows(pixels: NDArray[np.uint8], labels: str, missing: NDArray[np.bool_] | None = None) -> Raw:
    return Raw(pixels, np.array(list(labels)), missing)


def test_cleaning_sees_colours() -> None:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (8, 28, 28, 3), np.uint8)
    pixels[1] = pixels[0][..., ::-1]  # no copy: other colours
    pixels[2] = pixels[0]
    pixels[3] = (10, 20, 30)  # one colour, but three values
    missing = np.zeros((8, 28, 28), np.bool_)
    missing[6, 3, 4] = True
    test = rng.integers(0, 256, (2, 28, 28, 3), np.uint8)
    rules = CleaningRules(missing_pixels="median")
    result = clean(rows(pixels, "abaabbab", missing), rows(test, "ab"), rules, where=WHERE, size=Size(28, 3))
    assert counts(result) == {"missing_pixels": (1, 0), "blank": (1, 0), "duplicates": (1, 0)}
    filled = result.train.pixels[result.train.labels == 0]
    others = np.sort(pixels[[0, 2, 3], 3, 4], axis=0)[1]
    assert others.tolist() in filled[:, 3, 4].tolist(), "the median of each channel over the image's class"


def test_one_split_may_be_grey_and_the_other_in_colour() -> None:
    rng = np.random.default_rng(0)
    colours, greys = rng.integers(0, 256, (4, 28, 28, 3), np.uint8), rng.integers(0, 256, (2, 28, 28), np.uint8)
    colours[0], greys[0] = greys[1][..., None], 7
    size = Size(32, 3)
    result = clean(rows(colours, "abab"), rows(greys, "ab"), CleaningRules(), where=WHERE, size=size)
    assert result.test.pixels.shape == (2, *size.shape)
    assert counts(result) == {"blank": (0, 1), "leaks": (1, 1)}
    assert result.caught["leaks"].pixels.shape == (2, 28, 28, 3)


def test_a_record_of_an_older_version_is_of_grey_images_of_28_pixels() -> None:
    stored = Preparation.from_record('{"form": "letterboxed", "white": null, "whites": [255]}', "photos", "model")
    assert stored.size == DEFAULT_SIZE
    assert Preparation.from_record("resized", "photos", "model").size == DEFAULT_SIZE
