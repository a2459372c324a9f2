"""How pictures become images is decided once for a data set, and is stored with the data and with every model."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from fmnist.data import synthetic
from fmnist.data.pictures import centred
from fmnist.data.preparation import CENTRED, LETTERBOXED, RESIZED, Preparation, merge_preparations
from fmnist.data.sources import find_source
from fmnist.errors import FmnistError
from fmnist.size import DEFAULT_SIZE
from tests.fmnist.data.picture_sets import (
    KEEP,
    Pixels,
    as_arrays,
    as_folder,
    as_parquet,
    as_table,
    drawn,
    read,
    read_for_model,
    save,
)

DRAWS = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.mark.slow
@DRAWS
@given(
    st.sampled_from([as_folder, as_parquet, as_arrays, as_table]),
    st.sampled_from([(28, 28), (14, 14), (40, 30), (100, 120)]),
    st.sampled_from([0, 60, 200, 255]),
    st.sampled_from(["L", "RGB", "RGBA"]),
    st.integers(0, 9),
)
def test_a_model_reads_every_training_picture_as_the_same_image(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    form: Callable[[Path, list[Pixels]], Path],
    shape: tuple[int, int],
    ground: int,
    mode: str,
    seed: int,
) -> None:
    folder = tmp_path / f"{form.__name__}-{shape}-{ground}-{mode}-{seed}"
    folder.mkdir(exist_ok=True)
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
    if form is as_table:
        shape, mode = (28, 28), "L"
    pictures = [np.asarray(Image.fromarray(pixels).convert(mode)) for pixels in drawn(shape, ground, 24, seed)]
    if mode == "RGBA":
        pictures[0] = pictures[0].copy()
        pictures[0][:4, :4, 3] = 0
    source = read(form(folder, pictures))
    np.testing.assert_array_equal(source.train().pixels, read_for_model(source, save(pictures, folder / "files")))
    assert source.preparation.form == LETTERBOXED, "for any size and ground"


@pytest.mark.parametrize("ground", [0, 255])
def test_saved_data_keep_the_preparation(tmp_path: Path, ground: int) -> None:
    pictures = drawn((40, 30), ground, 24, 0)
    source = read(as_folder(tmp_path, pictures))
    source.save(tmp_path / "saved.npz")
    again = read(tmp_path / "saved.npz")
    assert again.preparation == source.preparation
    np.testing.assert_array_equal(again.train().pixels, read_for_model(again, save(pictures, tmp_path / "files")))


def test_saved_data_keep_the_stated_white(tmp_path: Path) -> None:
    pictures = ones()
    source = read(as_folder(tmp_path, pictures), white=1)
    files = save(pictures, tmp_path / "files")
    assert source.train().pixels.max() == 255
    np.testing.assert_array_equal(source.train().pixels, read_for_model(source, files))
    source.save(tmp_path / "saved.npz")
    for white in (None, 1):
        again = read(tmp_path / "saved.npz", white=white)
        np.testing.assert_array_equal(again.train().pixels, source.train().pixels)
        np.testing.assert_array_equal(again.train().pixels, read_for_model(again, files))
    Image.fromarray(pictures[0] * 255).save(tmp_path / "bright.png")
    with pytest.raises(
        FmnistError, match=r"must be from 0 to 1 for white, .* those of .*bright\.png are from 0 to 255"
    ):
        read_for_model(source, [tmp_path / "bright.png"])
    evaluated = find_source(
        str(files[0].parents[1]), preparation=source.preparation, rules=KEEP, announce=lambda _: None
    )
    assert evaluated.train().pixels.max() == 255, "a model's preparation overrides the rules"


def test_a_dark_16_bit_picture_is_accepted_if_training_pictures_had_16_bits(tmp_path: Path) -> None:
    pictures: list[Pixels] = [pixels.astype(np.uint16) * 257 for pixels in drawn((28, 28), 0, 24, 0)]
    pictures[0] //= 8
    source = read(as_folder(tmp_path, pictures))
    files = save(pictures, tmp_path / "files")
    np.testing.assert_array_equal(source.train().pixels, read_for_model(source, files))
    of_bytes = read(as_folder(tmp_path / "bytes", drawn((28, 28), 0, 24, 0)))
    with pytest.raises(FmnistError, match="as PNG of 8 bits"):
        read_for_model(of_bytes, files[:1])


def test_saved_images_like_those_of_fashion_mnist_keep_that_form(tmp_path: Path) -> None:
    drawn_by_code = find_source("synthetic", announce=lambda _: None)
    drawn_by_code.save(tmp_path / "saved.npz")
    again = find_source(str(tmp_path / "saved.npz"), rules=KEEP, announce=lambda _: None)
    assert again.preparation == drawn_by_code.preparation == Preparation(form=CENTRED)
    few = again.train().pixels[:200]
    files = save(list(few), tmp_path / "files")
    np.testing.assert_array_equal(few, read_for_model(again, files))


@pytest.mark.parametrize("form", [as_folder, as_parquet, as_arrays])
def test_images_to_evaluate_a_model_are_prepared_as_its_training_images(
    tmp_path: Path, form: Callable[[Path, list[Pixels]], Path]
) -> None:
    pictures = drawn((60, 80), 255, 24, 0)
    source = read(form(tmp_path, pictures), preparation=Preparation(form=CENTRED))
    expected = np.stack([centred(pixels, "a picture") for pixels in pictures])
    np.testing.assert_array_equal(source.train().pixels, expected)
    assert (source.train().pixels[:, 0, 0] == 0).all()


def test_the_test_split_is_prepared_as_the_training_split(tmp_path: Path) -> None:
    find_source("synthetic", announce=lambda _: None).save(tmp_path / "train.npz")
    pictures = [255 - np.pad(image, 30) for image in synthetic.draw(40, seed=3).pixels]
    labels = synthetic.draw(40, seed=3).labels
    for row, (pixels, label) in enumerate(zip(pictures, labels, strict=True)):
        place = tmp_path / "photos" / synthetic.CLASS_NAMES[label].replace("/", "-")
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(place / f"{row}.png")
    rules = KEEP.model_copy(update={"rename": {"T-shirt-top": "T-shirt/top"}})
    source = find_source(
        str(tmp_path / "train.npz"), test=str(tmp_path / "photos"), rules=rules, announce=lambda _: None
    )
    expected = np.stack([centred(pixels, "a picture") for pixels in pictures])
    np.testing.assert_array_equal(source.test().pixels, expected)


def ones(count: int = 24) -> list[Pixels]:
    """Return different pictures of 0 and 1."""
    pictures = [(pixels > 99).astype(np.uint8) for pixels in drawn((28, 28), 0, count, 0)]
    for row, pixels in enumerate(pictures):
        pixels[row % 24, 3:8] = 1
    return pictures


def test_the_stated_white_of_a_table_does_not_apply_to_picture_files(tmp_path: Path) -> None:
    source = read(as_table(tmp_path, ones()), white=1)
    files = save([pixels * 255 for pixels in ones()], tmp_path / "files")
    np.testing.assert_array_equal(source.train().pixels, read_for_model(source, files))
    evaluated = read(files[0].parents[1], preparation=source.preparation)
    np.testing.assert_array_equal(evaluated.train().pixels, source.train().pixels)
    again = read(tmp_path / "table.csv", preparation=source.preparation)
    np.testing.assert_array_equal(again.train().pixels, source.train().pixels)


def test_a_white_that_a_picture_cannot_hold_is_refused(tmp_path: Path) -> None:
    deep: list[Pixels] = [pixels.astype(np.uint16) * 16 for pixels in drawn((28, 28), 0, 24, 0)]
    source = read(as_folder(tmp_path / "deep", deep), white=4095)
    np.testing.assert_array_equal(source.train().pixels, read_for_model(source, save(deep, tmp_path / "files")))
    files = save(drawn((28, 28), 0, 24, 0), tmp_path / "bytes")
    with pytest.raises(FmnistError, match=r"from 0 to 4095 for white, .* whose largest value is 255"):
        read_for_model(source, files[:1])
    with pytest.raises(FmnistError, match=r"hold cleaning.white, 4,095; some cannot hold more than 255"):
        read(files[0].parents[1], white=4095)
    with pytest.raises(FmnistError, match="some cannot hold more than 255"):
        read(as_arrays(tmp_path, drawn((28, 28), 0, 24, 0)), white=4095)


def test_a_picture_of_0_and_1_is_refused_instead_of_read_as_black(tmp_path: Path) -> None:
    source = read(as_folder(tmp_path, drawn((28, 28), 0, 24, 0)))
    Image.fromarray(ones()[0]).save(tmp_path / "ones.png")
    Image.fromarray(ones()[0].astype(np.float32)).save(tmp_path / "ones.tif")
    Image.fromarray(ones()[0] * np.float32(0.5)).save(tmp_path / "halves.tif")
    for name, high in (("ones.png", "1"), ("ones.tif", "1"), ("halves.tif", "0.5")):
        with pytest.raises(FmnistError, match=rf"those of .*{name} are from 0 to {high}\. Save it again"):
            read_for_model(source, [tmp_path / name])
    dark = ones()[0] * 2
    Image.fromarray(dark).save(tmp_path / "dark.png")
    np.testing.assert_array_equal(read_for_model(source, [tmp_path / "dark.png"])[0], dark)


def test_a_picture_of_one_bit_is_black_and_white_for_any_white(tmp_path: Path) -> None:
    Image.fromarray(ones()[0] * 255).convert("1").save(tmp_path / "bit.png")
    for source in (
        read(as_folder(tmp_path / "ones", ones()), white=1),
        read(as_folder(tmp_path / "bytes", drawn((28, 28), 0, 24, 0))),
    ):
        np.testing.assert_array_equal(read_for_model(source, [tmp_path / "bit.png"])[0], ones()[0] * 255)


def test_colours_of_a_stated_white_are_the_same_in_files_and_arrays(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    colours = [rng.integers(0, 2, (28, 28, 3), np.uint8) for _ in range(24)]
    of_files = read(as_folder(tmp_path, colours), white=1).train().pixels
    np.testing.assert_array_equal(of_files, read(as_arrays(tmp_path, colours), white=1).train().pixels)
    assert {76, 150, 255} < set(of_files.ravel().tolist())


def test_splits_whose_pictures_have_different_whites_are_refused(tmp_path: Path) -> None:
    read(as_folder(tmp_path / "ones", ones()), white=1).save(tmp_path / "saved.npz")
    photos = as_folder(tmp_path / "bytes", drawn((28, 28), 0, 24, 0))
    with pytest.raises(
        FmnistError, match="White must be the same in the pictures of train and of test; it is"
    ) as caught:
        find_source(str(photos), test=str(tmp_path / "saved.npz"), rules=KEEP, announce=lambda _: None)
    assert any(
        f"it is {whites} in {photos} and {tmp_path / 'saved.npz'}. " in str(caught.value)
        for whites in ("the usual one and 1", "1 and the usual one")
    )


@pytest.mark.parametrize("order", [1, -1])
def test_a_white_stored_for_numbers_does_not_apply_to_the_pictures_of_the_other_split(order: int) -> None:
    splits = [Preparation(whites=(255,)), Preparation(white=5)][::order]
    assert merge_preparations(splits, LETTERBOXED, DEFAULT_SIZE, None, ("train", "test.npz")) == Preparation(
        whites=(255,)
    )


@pytest.mark.parametrize("form", [as_folder, as_parquet, as_arrays])
def test_a_blank_picture_is_not_counted_as_unreadable(
    tmp_path: Path, form: Callable[[Path, list[Pixels]], Path]
) -> None:
    pictures = [*drawn((40, 30), 255, 24, 0), np.full((40, 30), 255, np.uint8)]
    rules = KEEP.model_copy(update={"blank": "drop"})
    path = form(tmp_path, pictures)
    source = find_source(
        str(path), test=str(path), rules=rules, preparation=Preparation(form=CENTRED), announce=lambda _: None
    )
    assert source.cleaning is not None
    assert [caught.train for caught in source.cleaning.caught if caught.rule in ("unreadable", "blank")] == [0, 1]


@pytest.mark.parametrize(
    ("record", "data", "form"),
    [
        ("resized", "shop", RESIZED),
        ({"form": "letterboxed"}, "shop", LETTERBOXED),
        ("as Fashion-MNIST's", "Fashion-MNIST", CENTRED),
        ("as Fashion-MNIST's", "synthetic", CENTRED),
        ("as Fashion-MNIST's", "shop", RESIZED),  # as older versions stored for all data sets of 28 x 28 pixels
        (None, None, CENTRED),
        ({"form": "as Fashion-MNIST's"}, "shop", CENTRED),
        ('{"form": "resized", "white": 1.0, "whites": [1.0]}', "shop", RESIZED),
    ],
)
def test_records_of_older_versions_are_understood(record: object, data: object, form: str) -> None:
    assert Preparation.from_record(record, data, "model").form == form


@pytest.mark.parametrize(
    "record",
    [
        "stretched",
        "far too long " * 9,
        {"form": "stretched"},
        7,
        "{",
        {"white": "bright"},
        '{"white": NaN}',
        {"white": 1e-320},
        {"whites": [0]},
    ],
)
def test_an_invalid_record_is_refused(record: object) -> None:
    with pytest.raises(FmnistError, match="model must say how its pictures were prepared") as caught:
        Preparation.from_record(record, "shop", "model")
    assert f"got {str(record)[:60]!r}. Export" in str(caught.value)
