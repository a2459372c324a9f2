"""From a picture file, whatever its format, size and ground, to grey pixels."""

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

TOLERANCE = 0.05 * 255  # closer to the ground than this is ground
LIGHT = 127  # a ground above this grey is light
LARGE = 2048  # pixels of a side; what is larger is averaged down first, to save memory
# What Pillow's readers raise for files that are damaged or of a kind they do not know.
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
    """A picture shows nothing that could be centred."""


def centred(picture: NDArray[np.uint8], where: str) -> NDArray[np.uint8]:
    """The picture the way the images of Fashion-MNIST were made: grey on black, trimmed, as large as fits, centred.

    A picture of 28 x 28 pixels on a dark ground is taken as it is, so that an image of the data set stays the same.
    Shape: [H, W] -> [28, 28].
    Raises: BlankPictureError naming `where`.
    Source: Xiao et al., "Fashion-MNIST", 2017, section 2; the ground is judged by the corners, as there.
    """
    ground = _ground(picture)
    lit = _on_black(picture, ground)
    garment = np.argwhere(lit > TOLERANCE)
    if len(garment) == 0:
        kind, contrast = ("light", "darker") if ground > LIGHT else ("dark", "brighter")
        raise BlankPictureError(
            f"{where} shows nothing {contrast} than its {kind} ground (grey {ground:.0f} of 255). Take another picture."
        )
    if picture.shape == (SIDE, SIDE) and ground <= LIGHT:
        return picture
    (top, left), (bottom, right) = garment.min(axis=0), garment.max(axis=0) + 1
    return _fitted(lit[top:bottom, left:right])


def grey_picture(path: Path, scale: Scale) -> NDArray[np.uint8]:
    """The file's pixels, upright, in 256 greys, what is transparent filled in.

    `scale` says what is white and remembers what was found.
    Shape: [H, W].
    Raises: FmnistError naming the file where it is absent, no picture or too large.
    """
    if not path.is_file():
        state = "is a folder" if path.is_dir() else "does not exist"
        raise FmnistError(f"A picture is a file; {path} {state}. Name a PNG, JPEG or other picture.")
    return _decoded(path, str(path), scale)


def decode_picture(data: bytes, where: str, scale: Scale) -> NDArray[np.uint8]:
    """The same of a file's content; `where` is what a person calls the place it came from.

    Shape: [H, W].
    Raises: FmnistError naming `where` where it is no picture or too large.
    """
    return _decoded(io.BytesIO(data), where, scale)


def resized(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The picture in 28 x 28 pixels, stretched or averaged where it had others; one that has them is returned as it is.

    Shape: [H, W] -> [28, 28].
    """
    if grey.shape == (SIDE, SIDE):
        return grey
    return np.array(Image.fromarray(grey).resize((SIDE, SIDE), Image.Resampling.LANCZOS))


def opaque(grey: NDArray[np.uint8], alpha: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """What is transparent becomes white behind a dark garment and black behind a light one. Shape: [H, W]."""
    values, share = grey.astype(np.float32), alpha.astype(np.float32) / 255
    seen = (values * share).sum() / max(share.sum(), 1)
    behind = 255 if seen <= LIGHT else 0
    blended: NDArray[np.uint8] = (values * share + behind * (1 - share)).round().astype(np.uint8)
    return blended


def _decoded(source: Path | io.BytesIO, where: str, scale: Scale) -> NDArray[np.uint8]:
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings(
                "ignore", category=UserWarning, module=r"PIL\."
            )  # damaged metadata of a readable picture
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(source) as image:
                grey = _eight_bit(ImageOps.exif_transpose(image), scale)
        small = grey.reduce(max(1, max(grey.size) // LARGE))
        return np.array(small) if small.mode == "L" else opaque(*(np.asarray(band) for band in small.split()))
    except _BOMBS:
        raise FmnistError(
            f"A picture has at most {Image.MAX_IMAGE_PIXELS:,} pixels; {where} has more. Make it smaller."
        ) from None
    except _UNREADABLE as error:
        reason = (
            "it is no kind of picture that Pillow knows" if isinstance(error, UnidentifiedImageError) else str(error)
        )
        raise FmnistError(f"{where} must be a readable picture: {reason}. Save it again, as PNG or JPEG.") from error


def _eight_bit(image: Image.Image, scale: Scale) -> Image.Image:
    """The image in mode L, or LA where some of it may be transparent."""
    if image.mode.startswith("I;16"):
        return _scaled(np.asarray(image), scale, DEEP)
    if image.mode in ("I", "F"):
        return _scaled(_finite(np.asarray(image, np.float32)), scale)
    if image.mode == "1":  # black and white, whatever white is
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
    """The median of the four corners, each of a 28th of the picture's sides.

    Of the 70,000 images of Fashion-MNIST, none has a light ground by this rule; by the median of the border, two have.
    """
    height, width = (-(-side // SIDE) for side in picture.shape)
    corners = [picture[rows, columns] for rows in np.s_[:height, -height:] for columns in np.s_[:width, -width:]]
    return float(np.median(np.concatenate([corner.ravel() for corner in corners])))


def _on_black(picture: NDArray[np.uint8], ground: float) -> NDArray[np.float32]:
    """The picture with its ground at 0 and what differs most from it at 255."""
    contrast = ground - picture.astype(np.float32) if ground > LIGHT else picture.astype(np.float32) - ground
    lit: NDArray[np.float32] = np.clip(contrast * (255 / max(ground, 255 - ground)), 0, 255)
    return lit


def _fitted(garment: NDArray[np.float32]) -> NDArray[np.uint8]:
    height, width = garment.shape
    scale = SIDE / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    canvas = Image.new("L", (SIDE, SIDE))
    resized = Image.fromarray(garment.round().astype(np.uint8)).resize(size, Image.Resampling.LANCZOS)
    # An odd row or column of black goes above or to the left, as in most images of Fashion-MNIST.
    canvas.paste(resized, ((SIDE - size[0] + 1) // 2, (SIDE - size[1] + 1) // 2))
    return np.array(canvas)
