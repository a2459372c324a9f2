"""Picture files of any format, size and ground -> pixels in grey or in colour, and these scaled to a square."""

import io
import struct
import warnings
import zlib
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from fmnist.data.scale import BYTE, DEEP, Scale
from fmnist.errors import FmnistError
from fmnist.size import SIDE

TOLERANCE = 0.05 * 255  # a smaller difference from the ground counts as ground
LIGHT = 127  # a ground above this grey is light
CORNER = 28  # the sides of a corner are this share of the picture's
LARGE = 2048  # pixels of a side; larger pictures are averaged down first, to save memory
# What Pillow's readers raise for damaged and unknown files.
_UNREADABLE = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    EOFError,
    IndexError,
    KeyError,
    struct.error,
    zlib.error,
    OverflowError,
    RuntimeError,
)
Mode = Literal["L", "RGB"]
_BOMBS = (Image.DecompressionBombError, Image.DecompressionBombWarning)


class BlankPictureError(FmnistError):
    """A picture shows nothing to centre."""


def centred(picture: NDArray[np.uint8], where: str, side: int = SIDE) -> NDArray[np.uint8]:
    """Return the picture prepared as the images of Fashion-MNIST: grey on black, trimmed, scaled to fit, centred.

    A picture of 28 x 28 or of `side` x `side` pixels on a dark ground is such an image already, so that images of
    Fashion-MNIST do not change: it is only scaled to `side`.

    Shape: [H, W] -> [side, side].
    Raises: BlankPictureError naming `where`.
    Source: Xiao et al., "Fashion-MNIST", 2017, section 2; the ground is judged by the corners, as there.
    """
    ground = float(_ground(picture))
    on_black = _on_black(picture, ground)
    garment = np.argwhere(on_black > TOLERANCE)
    if len(garment) == 0:
        kind, contrast = ("light", "darker") if ground > LIGHT else ("dark", "brighter")
        raise BlankPictureError(
            f"{where} shows nothing {contrast} than its {kind} ground (grey {ground:.0f} of 255). Take another picture."
        )
    if picture.shape in ((SIDE, SIDE), (side, side)) and ground <= LIGHT:
        return resized(picture, side)
    (top, left), (bottom, right) = garment.min(axis=0), garment.max(axis=0) + 1
    return _fitted(on_black[top:bottom, left:right].round().astype(np.uint8), 0, side)


def open_picture(path: Path, scale: Scale, *, in_colour: bool = False) -> NDArray[np.uint8]:
    """Return the file's pixels, upright, in 256 greys or as red, green and blue, with transparent parts filled in.

    `scale` defines white and records the extents of the values.

    Shape: [H, W], or [H, W, 3] if `in_colour`.
    Raises: FmnistError naming the file if it is missing, not a picture or too large.
    """
    try:
        state = "" if path.is_file() else "is a folder" if path.is_dir() else "does not exist"
    except OSError as error:  # a name that is too long, or a folder that may not be read
        state = f"cannot be looked up ({error.strerror})"
    if state:
        raise FmnistError(f"A picture must be a file; {path} {state}. Name a PNG, JPEG or other picture.")
    return _decoded(path, str(path), scale, in_colour=in_colour)


def decode_picture(data: bytes, where: str, scale: Scale, *, in_colour: bool = False) -> NDArray[np.uint8]:
    """Return the same as `open_picture` for the content of a file; `where` names its origin in errors.

    Shape: [H, W], or [H, W, 3] if `in_colour`.
    Raises: FmnistError naming `where` if it is not a picture or too large.
    """
    return _decoded(io.BytesIO(data), where, scale, in_colour=in_colour)


def resized(picture: NDArray[np.uint8], side: int = SIDE) -> NDArray[np.uint8]:
    """Return the picture resized to `side` x `side` pixels, unchanged if it has that size.

    Shape: [H, W] or [H, W, 3] -> [side, side] or [side, side, 3].
    """
    if picture.shape[:2] == (side, side):
        return picture
    return np.array(Image.fromarray(picture).resize((side, side), Image.Resampling.LANCZOS))


def letterboxed(picture: NDArray[np.uint8], side: int = SIDE) -> NDArray[np.uint8]:
    """Return the picture scaled to fit `side` x `side` pixels, its sides in their ratio, with its ground around it.

    A picture of that size is returned as it is. The grey or colour of the ground is that of the corners.

    Shape: [H, W] or [H, W, 3] -> [side, side] or [side, side, 3].
    """
    return picture if picture.shape[:2] == (side, side) else _fitted(picture, _ground(picture).round(), side)


def flatten_alpha(picture: NDArray[np.uint8], alpha: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Blend transparent pixels with white behind a dark garment, with black behind a light one.

    Shape: [H, W] or [H, W, 3], and alpha [H, W].
    """
    values, opacity = picture.astype(np.float32), alpha.astype(np.float32) / 255
    opacity = opacity.reshape(*opacity.shape, *[1] * (picture.ndim - 2))
    mean = (values * opacity).sum() / max(opacity.sum() * values[0, 0].size, 1)
    ground = 255 if mean <= LIGHT else 0
    blended: NDArray[np.uint8] = (values * opacity + ground * (1 - opacity)).round().astype(np.uint8)
    return blended


def _decoded(source: Path | io.BytesIO, where: str, scale: Scale, *, in_colour: bool) -> NDArray[np.uint8]:
    try:
        with warnings.catch_warnings():
            # Pillow warns of damaged metadata in readable pictures.
            warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(source) as image:
                whole = _eight_bit(ImageOps.exif_transpose(image), scale, "RGB" if in_colour else "L")
        small = np.array(whole.reduce(max(1, max(whole.size) // LARGE)))
        if whole.mode in ("L", "RGB"):
            return small
        return flatten_alpha(small[..., :-1] if in_colour else small[..., 0], small[..., -1])
    except _BOMBS:
        raise FmnistError(
            f"A picture must have at most {Image.MAX_IMAGE_PIXELS:,} pixels; {where} has more. Make it smaller."
        ) from None
    except _UNREADABLE as error:
        reason = "Pillow does not know its format" if isinstance(error, UnidentifiedImageError) else str(error)
        raise FmnistError(f"{where} must be a readable picture: {reason}. Save it again, as PNG or JPEG.") from error


def _eight_bit(image: Image.Image, scale: Scale, mode: Mode) -> Image.Image:
    """Return the image in that mode, or with A for alpha if parts of it may be transparent."""
    if image.mode.startswith("I;16"):
        return _scaled(np.asarray(image), scale, mode, DEEP)
    if image.mode in ("I", "F"):
        return _scaled(_finite(np.asarray(image, np.float32)), scale, mode)
    if image.mode == "1":  # its 1 is white, even if the study states another white
        return _scaled(np.asarray(image, np.float32) * (scale.stated or BYTE), scale, mode)
    if image.has_transparency_data:
        *colours, alpha = image.convert("RGBA").split()
        opaque = _scaled(np.asarray(Image.merge("RGB", colours)), scale, mode)
        return Image.merge(f"{mode}A", (*opaque.split(), alpha))
    if image.mode == "LAB":
        return _scaled(np.asarray(image.getchannel("L") if mode == "L" else _from_lab(image)), scale, mode)
    return _scaled(np.asarray(image if image.mode == "L" else image.convert("RGB")), scale, mode)


def _from_lab(image: Image.Image) -> Image.Image:
    lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    try:
        converted = ImageCms.profileToProfile(image, lab, srgb, outputMode="RGB")
    except ImageCms.PyCMSError as error:
        raise ValueError(f"its colours cannot be converted to red, green and blue ({error})") from None
    assert converted is not None, "not converted in place"
    return converted


def _scaled(values: NDArray[np.generic], scale: Scale, mode: Mode, white: float = BYTE) -> Image.Image:
    return Image.fromarray(scale.greys(values, white)).convert(mode)


def _finite(values: NDArray[np.float32]) -> NDArray[np.float32]:
    if not np.isfinite(values).all():
        raise ValueError("it has pixels that are not finite numbers")
    return values


def _ground(picture: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return the median grey or colour of the four corners, whose sides are a 28th of the picture's.

    Shape: [H, W] or [H, W, 3] -> [] or [3].
    Of the 70,000 images of Fashion-MNIST, none has a light ground by this rule; by the median of the border, two have.
    """
    height, width = (-(-side // CORNER) for side in picture.shape[:2])
    corners = [picture[rows, columns] for rows in np.s_[:height, -height:] for columns in np.s_[:width, -width:]]
    return np.asarray(np.median(np.concatenate([one.reshape(-1, *picture.shape[2:]) for one in corners]), axis=0))


def _on_black(picture: NDArray[np.uint8], ground: float) -> NDArray[np.float32]:
    """Return the picture with its ground at 0 and the grey farthest from it at 255."""
    contrast = ground - picture.astype(np.float32) if ground > LIGHT else picture.astype(np.float32) - ground
    on_black: NDArray[np.float32] = np.clip(contrast * (255 / max(ground, 255 - ground)), 0, 255)
    return on_black


def _fitted(picture: NDArray[np.uint8], ground: ArrayLike, side: int) -> NDArray[np.uint8]:
    height, width = picture.shape[:2]
    scale = side / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    canvas = Image.fromarray(np.full((side, side, *picture.shape[2:]), ground, np.uint8))
    scaled = Image.fromarray(picture).resize(size, Image.Resampling.LANCZOS)
    # An odd margin puts the extra row above or the extra column to the left, as in most images of Fashion-MNIST.
    canvas.paste(scaled, ((side - size[0] + 1) // 2, (side - size[1] + 1) // 2))
    return np.array(canvas)
