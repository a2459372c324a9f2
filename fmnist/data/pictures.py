"""Picture files of any format, size and ground -> grey pixels."""

import io
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from fmnist.data.images import SIDE
from fmnist.data.scale import BYTE, DEEP, Scale
from fmnist.errors import FmnistError

TOLERANCE = 0.05 * 255  # a smaller difference from the ground counts as ground
LIGHT = 127  # a ground above this grey is light
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
_BOMBS = (Image.DecompressionBombError, Image.DecompressionBombWarning)


class BlankPictureError(FmnistError):
    """A picture shows nothing to centre."""


def centred(picture: NDArray[np.uint8], where: str) -> NDArray[np.uint8]:
    """Return the picture prepared as the images of Fashion-MNIST: grey on black, trimmed, scaled to fit, centred.

    A picture of 28 x 28 pixels on a dark ground is returned as it is, so that images of Fashion-MNIST do not change.

    Shape: [H, W] -> [28, 28].
    Raises: BlankPictureError naming `where`.
    Source: Xiao et al., "Fashion-MNIST", 2017, section 2; the ground is judged by the corners, as there.
    """
    ground = _ground(picture)
    on_black = _on_black(picture, ground)
    garment = np.argwhere(on_black > TOLERANCE)
    if len(garment) == 0:
        kind, contrast = ("light", "darker") if ground > LIGHT else ("dark", "brighter")
        raise BlankPictureError(
            f"{where} shows nothing {contrast} than its {kind} ground (grey {ground:.0f} of 255). Take another picture."
        )
    if picture.shape == (SIDE, SIDE) and ground <= LIGHT:
        return picture
    (top, left), (bottom, right) = garment.min(axis=0), garment.max(axis=0) + 1
    return _fitted(on_black[top:bottom, left:right].round().astype(np.uint8), 0)


def grey_picture(path: Path, scale: Scale) -> NDArray[np.uint8]:
    """Return the file's pixels, upright, in 256 greys, with transparent parts filled in.

    `scale` defines white and records the extents of the values.

    Shape: [H, W].
    Raises: FmnistError naming the file if it is missing, not a picture or too large.
    """
    if not path.is_file():
        state = "is a folder" if path.is_dir() else "does not exist"
        raise FmnistError(f"A picture must be a file; {path} {state}. Name a PNG, JPEG or other picture.")
    return _decoded(path, str(path), scale)


def decode_picture(data: bytes, where: str, scale: Scale) -> NDArray[np.uint8]:
    """Return the same as `grey_picture` for the content of a file; `where` names its origin in errors.

    Shape: [H, W].
    Raises: FmnistError naming `where` if it is not a picture or too large.
    """
    return _decoded(io.BytesIO(data), where, scale)


def resized(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the picture resized to 28 x 28 pixels, unchanged if it has that size.

    Shape: [H, W] -> [28, 28].
    """
    if grey.shape == (SIDE, SIDE):
        return grey
    return np.array(Image.fromarray(grey).resize((SIDE, SIDE), Image.Resampling.LANCZOS))


def letterboxed(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the picture scaled to fit 28 x 28 pixels, its sides in their ratio, with the grey of its ground around it.

    A picture of 28 x 28 pixels is returned as it is. The ground is judged by the corners.

    Shape: [H, W] -> [28, 28].
    """
    return grey if grey.shape == (SIDE, SIDE) else _fitted(grey, round(_ground(grey)))


def flatten_alpha(grey: NDArray[np.uint8], alpha: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Blend transparent pixels with white behind a dark garment, with black behind a light one. Shape: [H, W]."""
    values, opacity = grey.astype(np.float32), alpha.astype(np.float32) / 255
    mean = (values * opacity).sum() / max(opacity.sum(), 1)
    ground = 255 if mean <= LIGHT else 0
    blended: NDArray[np.uint8] = (values * opacity + ground * (1 - opacity)).round().astype(np.uint8)
    return blended


def _decoded(source: Path | io.BytesIO, where: str, scale: Scale) -> NDArray[np.uint8]:
    try:
        with warnings.catch_warnings():
            # Pillow warns of damaged metadata in readable pictures.
            warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(source) as image:
                grey = _eight_bit(ImageOps.exif_transpose(image), scale)
        small = grey.reduce(max(1, max(grey.size) // LARGE))
        return np.array(small) if small.mode == "L" else flatten_alpha(*(np.asarray(band) for band in small.split()))
    except _BOMBS:
        raise FmnistError(
            f"A picture must have at most {Image.MAX_IMAGE_PIXELS:,} pixels; {where} has more. Make it smaller."
        ) from None
    except _UNREADABLE as error:
        reason = "Pillow does not know its format" if isinstance(error, UnidentifiedImageError) else str(error)
        raise FmnistError(f"{where} must be a readable picture: {reason}. Save it again, as PNG or JPEG.") from error


def _eight_bit(image: Image.Image, scale: Scale) -> Image.Image:
    """Return the image in mode L, or LA if parts of it may be transparent."""
    if image.mode.startswith("I;16"):
        return _scaled(np.asarray(image), scale, DEEP)
    if image.mode in ("I", "F"):
        return _scaled(_finite(np.asarray(image, np.float32)), scale)
    if image.mode == "1":  # its 1 is white, even if the study states another white
        return _scaled(np.asarray(image, np.float32) * (scale.stated or BYTE), scale)
    if image.has_transparency_data:
        *colours, alpha = image.convert("RGBA").split()
        return Image.merge("LA", (_scaled(np.asarray(Image.merge("RGB", colours)), scale), alpha))
    if image.mode == "LAB":
        return _scaled(np.asarray(image.getchannel("L")), scale)
    return _scaled(np.asarray(image if image.mode == "L" else image.convert("RGB")), scale)


def _scaled(values: NDArray[np.generic], scale: Scale, white: float = BYTE) -> Image.Image:
    return Image.fromarray(scale.greys(values, white)).convert("L")


def _finite(values: NDArray[np.float32]) -> NDArray[np.float32]:
    if not np.isfinite(values).all():
        raise ValueError("it has pixels that are not finite numbers")
    return values


def _ground(picture: NDArray[np.uint8]) -> float:
    """Return the median grey of the four corners, whose sides are a 28th of the picture's.

    Of the 70,000 images of Fashion-MNIST, none has a light ground by this rule; by the median of the border, two have.
    """
    height, width = (-(-side // SIDE) for side in picture.shape)
    corners = [picture[rows, columns] for rows in np.s_[:height, -height:] for columns in np.s_[:width, -width:]]
    return float(np.median(np.concatenate([corner.ravel() for corner in corners])))


def _on_black(picture: NDArray[np.uint8], ground: float) -> NDArray[np.float32]:
    """Return the picture with its ground at 0 and the grey farthest from it at 255."""
    contrast = ground - picture.astype(np.float32) if ground > LIGHT else picture.astype(np.float32) - ground
    on_black: NDArray[np.float32] = np.clip(contrast * (255 / max(ground, 255 - ground)), 0, 255)
    return on_black


def _fitted(picture: NDArray[np.uint8], ground: int) -> NDArray[np.uint8]:
    height, width = picture.shape
    scale = SIDE / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    canvas = Image.new("L", (SIDE, SIDE), ground)
    resized = Image.fromarray(picture).resize(size, Image.Resampling.LANCZOS)
    # An odd margin puts the extra row above or the extra column to the left, as in most images of Fashion-MNIST.
    canvas.paste(resized, ((SIDE - size[0] + 1) // 2, (SIDE - size[1] + 1) // 2))
    return np.array(canvas)
