import io
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from fmnist.data import synthetic
from fmnist.data.pictures import decode_picture, resized
from fmnist.data.preparation import RESIZED, Preparation, picture_reader, read_picture
from fmnist.data.scale import Scale
from fmnist.errors import FmnistError

FILES = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def garment(mode: str = "L", *, size: tuple[int, int] = (120, 160), ground: Any = 0, cloth: Any = 230) -> Image.Image:
    """An upright T shape with a dark print, wider margins on the right than on the left."""
    width, height = size
    image = Image.new(mode, size, ground)
    pen = ImageDraw.Draw(image)
    pen.rectangle((width * 0.1, height * 0.1, width * 0.7, height * 0.3), fill=cloth)
    pen.rectangle((width * 0.3, height * 0.1, width * 0.5, height * 0.9), fill=cloth)
    return image


def read(image: Image.Image, folder: Path, name: str = "picture.png", **options: Any) -> NDArray[np.uint8]:
    image.save(folder / name, **options)
    return read_picture(folder / name)


def largest_difference(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> int:
    return int(np.abs(a.astype(int) - b).max())


@pytest.fixture
def expected(tmp_path: Path) -> NDArray[np.uint8]:
    return read(garment(cloth=255), tmp_path)


def test_the_garment_fills_the_picture_and_keeps_its_shape(expected: NDArray[np.uint8]) -> None:
    rows, columns = np.nonzero(expected > 127)
    assert (rows.min(), rows.max()) == (0, 27)
    assert columns.max() - columns.min() + 1 == pytest.approx(28 * 73 / 129, abs=1)
    assert (columns.min() + columns.max()) / 2 == pytest.approx(13.5, abs=1)
    assert expected[0, 0] == 0


def test_images_of_the_data_set_are_not_changed(tmp_path: Path) -> None:
    for pixels in synthetic.test().pixels[:50]:
        np.testing.assert_array_equal(read(Image.fromarray(pixels), tmp_path), pixels)


@pytest.mark.parametrize(("ground", "kind"), [(127, "brighter than its dark"), (128, "darker than its light")])
def test_a_ground_above_the_middle_is_light(tmp_path: Path, ground: int, kind: str) -> None:
    with pytest.raises(FmnistError, match=f"nothing {kind} ground"):
        read(Image.new("L", (50, 40), ground), tmp_path)
    pixels = np.full((28, 28), ground, np.uint8)
    pixels[9:19, 5:20] = 255 if ground == 127 else 0
    image = read(Image.fromarray(pixels), tmp_path)
    assert image.max() == 255
    assert np.array_equal(image, pixels) == (ground == 127), "a picture on a dark ground is not changed"


def test_the_ground_is_the_grey_of_the_corners(tmp_path: Path) -> None:
    pixels = np.full((60, 60), 200, np.uint8)
    for corner in (np.s_[:3, :3], np.s_[:3, -3:], np.s_[-3:, :3], np.s_[-3:, -3:]):  # a 28th of the sides, rounded up
        pixels[corner] = 0
    image = read(Image.fromarray(pixels), tmp_path)
    assert (image[14] == 200).all(), "greys on a black ground are not changed"


def test_pixels_lighter_than_a_light_ground_are_ground(tmp_path: Path) -> None:
    pixels = np.full((60, 60), 240, np.uint8)
    pixels[10:50, 10:50] = 0
    pixels[20:40, 20:40] = 255
    image = read(Image.fromarray(pixels), tmp_path)
    assert (image[13, 13], image[3, 3]) == (0, 255)


@pytest.mark.parametrize("is_upright", [True, False])
def test_a_thin_line_is_one_pixel_wide_and_right_of_the_middle(tmp_path: Path, is_upright: bool) -> None:
    pixels = np.zeros((200, 200), np.uint8)
    pixels[20:180, 30] = 255
    image = read(Image.fromarray(pixels if is_upright else pixels.T), tmp_path)
    assert set(np.nonzero(image)[1 if is_upright else 0].tolist()) == {14}


@pytest.mark.parametrize(
    ("grey", "alpha", "expected"),
    [(255, 255, 255), (200, 51, 40), (128, 51, 26), (127, 51, 229), (100, 51, 224), (100, 0, 255)],
)
def test_transparent_pixels_are_blended_with_a_contrasting_ground(
    tmp_path: Path, grey: int, alpha: int, expected: int
) -> None:
    Image.new("LA", (28, 28), (grey, alpha)).save(tmp_path / "a.png")
    assert np.unique(picture_reader(Preparation())(tmp_path / "a.png")).tolist() == [expected]


@pytest.mark.parametrize(("ground", "cloth"), [(255, 0), (240, 0), (0, 255), (30, 255)])
def test_the_ground_may_be_light_or_dark(tmp_path: Path, expected: NDArray[np.uint8], ground: int, cloth: int) -> None:
    assert largest_difference(read(garment(ground=ground, cloth=cloth), tmp_path), expected) <= 1


@pytest.mark.parametrize(
    ("mode", "name", "ground", "cloth"),
    [
        ("1", "a.png", 1, 0),
        ("P", "a.gif", 0, 255),
        ("RGB", "a.png", (255, 255, 255), (0, 0, 0)),
        ("CMYK", "a.tif", (0, 0, 0, 0), (0, 0, 0, 255)),
        ("LAB", "a.tif", (255, 0, 0), (0, 0, 0)),
        ("I;16", "a.png", 65535, 0),
        ("I;16", "a.tif", 0, 65535),
        ("I", "a.tif", 0, 255),
        ("F", "a.tif", 0.0, 255.0),
        ("LA", "a.png", (0, 0), (255, 255)),
        ("LA", "a.png", (255, 0), (0, 255)),
        ("RGBA", "a.png", (9, 9, 9, 0), (255, 255, 255, 255)),
        ("RGBA", "a.tif", (0, 0, 0, 0), (0, 0, 0, 255)),
    ],
)
def test_every_mode_and_format_is_read(
    tmp_path: Path, expected: NDArray[np.uint8], mode: str, name: str, ground: Any, cloth: Any
) -> None:
    image = garment("L", cloth=255).convert("P") if mode == "P" else garment(mode, ground=ground, cloth=cloth)
    assert largest_difference(read(image, tmp_path, name), expected) <= 1


@pytest.mark.parametrize("name", ["a.jpg", "a.webp"])
def test_lossy_formats_are_read_nearly_the_same(tmp_path: Path, expected: NDArray[np.uint8], name: str) -> None:
    image = read(garment("RGB", ground=(255, 255, 255), cloth=(0, 0, 0)), tmp_path, name, quality=90)
    assert np.abs(image.astype(int) - expected).mean() < 8


def test_a_transparent_colour_of_a_palette_is_ground(tmp_path: Path, expected: NDArray[np.uint8]) -> None:
    image = garment("P", ground=0, cloth=1)
    image.putpalette([200, 0, 0, 255, 255, 255])
    assert largest_difference(read(image, tmp_path, transparency=0), expected) <= 1


def test_the_camera_s_rotation_is_undone(tmp_path: Path, expected: NDArray[np.uint8]) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise for display
    turned = garment(cloth=255).transpose(Image.Transpose.ROTATE_90)
    assert largest_difference(read(turned, tmp_path, exif=exif), expected) <= 1


def test_a_large_picture_gives_nearly_the_same_image_as_a_small_one(
    tmp_path: Path, expected: NDArray[np.uint8]
) -> None:
    assert np.abs(read(garment(size=(4800, 6400), cloth=255), tmp_path).astype(int) - expected).mean() < 6


@FILES
@given(
    mode=st.sampled_from(["1", "L", "LA", "P", "RGB", "RGBA", "I;16"]),
    width=st.integers(1, 90),
    height=st.integers(1, 90),
    seed=st.integers(0, 2**32 - 1),
)
@example(mode="L", width=1, height=1, seed=0)
@example(mode="RGBA", width=90, height=1, seed=0)
def test_every_picture_is_read_or_refused(tmp_path: Path, mode: str, width: int, height: int, seed: int) -> None:
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 4), dtype=np.uint8)
    image = (
        Image.fromarray(noise[..., 0].astype(np.uint16) * 257)
        if mode == "I;16"
        else Image.fromarray(noise).convert(mode)
    )
    try:
        pixels = read(image, tmp_path)
    except FmnistError as error:
        # Few pixels of 16 bits may all be far too dark.
        assert "shows nothing" in str(error) or "as PNG of 8 bits" in str(error)  # noqa: PT017
    else:
        assert pixels.shape == (28, 28)
        assert pixels.dtype == np.uint8
        assert pixels.flags.writeable


@FILES
@given(
    size=st.tuples(st.integers(29, 120), st.integers(29, 120)),
    cloth=st.integers(60, 255),
    ground=st.integers(0, 20),
)
def test_dark_on_light_gives_the_same_image_as_light_on_dark(
    tmp_path: Path, size: tuple[int, int], cloth: int, ground: int
) -> None:
    light = read(garment(size=size, ground=ground, cloth=cloth), tmp_path)
    dark = read(garment(size=size, ground=255 - ground, cloth=255 - cloth), tmp_path)
    assert largest_difference(light, dark) <= 1


@FILES
@given(
    name=st.sampled_from(["a.png", "a.jpg", "a.gif", "a.bmp", "a.tif"]),
    where=st.floats(0, 0.999),
    byte=st.integers(0, 255),
    cut=st.booleans(),
)
def test_a_damaged_file_is_read_or_refused(tmp_path: Path, name: str, where: float, byte: int, cut: bool) -> None:
    whole = io.BytesIO()
    garment().save(whole, {"jpg": "JPEG", "tif": "TIFF"}.get(name[2:], name[2:]))
    data = bytearray(whole.getvalue())
    position = int(where * len(data))
    (tmp_path / name).write_bytes(data[:position] if cut else data[:position] + bytes([byte]) + data[position + 1 :])
    try:
        assert read_picture(tmp_path / name).shape == (28, 28)
    except FmnistError as error:
        assert name in str(error)  # noqa: PT017


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (Image.new("L", (50, 40), 255), "nothing darker than its light ground"),
        (Image.new("L", (28, 28), 0), "nothing brighter than its dark ground"),
        (Image.new("RGBA", (50, 40), (255, 0, 0, 0)), "shows nothing"),
        (Image.new("F", (50, 40), float("nan")), "not finite"),
    ],
)
def test_blank_pictures_are_refused(tmp_path: Path, image: Image.Image, message: str) -> None:
    with pytest.raises(FmnistError, match=message):
        read(image, tmp_path, "blank.tif")


def test_a_path_that_is_not_a_picture_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("not a picture")
    for name, message in {
        "notes.txt": "Pillow does not know its format",
        "absent.png": "does not exist",
        "": "is a folder",
    }.items():
        with pytest.raises(FmnistError, match=message) as caught:
            read_picture(tmp_path / name)
        assert str(tmp_path / name) in str(caught.value)


@pytest.mark.parametrize("size", [(10_000, 9_000), (20_000, 20_000)])
def test_a_decompression_bomb_is_refused(tmp_path: Path, size: tuple[int, int]) -> None:
    Image.new("1", size).save(tmp_path / "bomb.png")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the caller may have other filters of warnings
        with pytest.raises(FmnistError, match=r"at most 89,478,485 pixels; .*bomb.png has more"):
            read_picture(tmp_path / "bomb.png")


@pytest.mark.parametrize("name", ["a.png", "a.bmp", "a.tif", "a.gif"])
def test_grey_pixels_are_read_byte_for_byte(tmp_path: Path, name: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (28, 28), np.uint8)
    Image.fromarray(pixels).save(tmp_path / name)
    for image in (
        picture_reader(Preparation())(tmp_path / name),
        decode_picture((tmp_path / name).read_bytes(), name, Scale()),
    ):
        np.testing.assert_array_equal(image, pixels)
        assert image.dtype == np.uint8


def test_a_picture_of_28_x_28_is_not_resized() -> None:
    pixels = np.zeros((28, 28), np.uint8)
    assert resized(pixels) is pixels


@pytest.mark.parametrize("shape", [(1, 1), (1, 500), (14, 14), (28, 27), (280, 280), (300, 7)])
def test_a_resized_picture_keeps_its_brightness(tmp_path: Path, shape: tuple[int, int]) -> None:
    pixels = np.full(shape, 40, np.uint8)
    pixels[shape[0] // 2 :] = 200
    Image.fromarray(pixels).save(tmp_path / "a.png")
    image = picture_reader(Preparation(form=RESIZED))(tmp_path / "a.png")
    assert image.shape == (28, 28)
    assert image.mean() == pytest.approx(pixels.mean(), abs=4)
    assert image[-1].mean() == pytest.approx(200, abs=4)


@pytest.mark.parametrize(("height", "width"), [(56, 112), (112, 56), (280, 40), (40, 280), (60, 60)])
@pytest.mark.parametrize("ground", [0, 40, 255])
def test_a_letterboxed_picture_keeps_its_shape_and_its_ground(
    tmp_path: Path, height: int, width: int, ground: int
) -> None:
    pixels = np.full((height, width), ground, np.uint8)
    pixels[height // 4 : -height // 4, width // 4 : -width // 4] = 128
    Image.fromarray(pixels).save(tmp_path / "a.png")
    image = picture_reader(Preparation())(tmp_path / "a.png").astype(int)
    assert image.shape == (28, 28)
    seen = np.argwhere(np.abs(image - ground) > abs(128 - ground) / 2)
    longest = max(height, width)
    np.testing.assert_allclose(np.ptp(seen, axis=0) + 1, [14 * height / longest, 14 * width / longest], atol=1)
    np.testing.assert_allclose(seen.mean(axis=0), 13.5, atol=1, err_msg="in the middle")
    assert image[0, 0] == image[-1, -1] == ground


def test_a_fine_pattern_is_averaged_when_shrunk() -> None:
    stripes = np.zeros((280, 280), np.uint8)
    stripes[:, ::2] = 255
    assert np.ptp(resized(stripes)[:, 2:-2].astype(int)) <= 4


def test_an_error_of_a_picture_in_memory_names_its_origin() -> None:
    with pytest.raises(
        FmnistError, match=r"^a\.parquet row 3 must be a readable picture: Pillow does not know its format"
    ):
        decode_picture(b"not a picture", "a.parquet row 3", Scale())
