"""How the pictures of a data set became images of one size, stored with the data and with every model.

A model prepares new pictures in the same way.
"""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from fmnist.data.official import FASHION_MNIST
from fmnist.data.pictures import BlankPictureError, centred, letterboxed, open_picture, resized
from fmnist.data.scale import DEEP, Extent, Scale, White
from fmnist.data.synthetic import SYNTHETIC
from fmnist.errors import FmnistError
from fmnist.size import Channels, Side, Size

Form = Literal["letterboxed", "resized", "as Fashion-MNIST's"]
# Scaled to fit, with the grey of its ground around it: the form of all other data.
LETTERBOXED: Form = "letterboxed"
# Each side scaled by itself, as version 0.1 did it: models and data that it made say so.
RESIZED: Form = "resized"
# On black, trimmed, scaled to fit and centred: the form of Fashion-MNIST and of the synthetic images.
CENTRED: Form = "as Fashion-MNIST's"


class Preparation(BaseModel):
    """How all pictures of a data set are prepared, decided when the data set is read."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    form: Form = LETTERBOXED
    white: White | None = None  # in the files, as the study states it; None means 255, or 65,535 in 16-bit pictures
    whites: tuple[White, ...] = ()  # of the picture files in the data; () if there were only tables or arrays
    side: Side = 28  # of the images, in pixels; older versions knew no other, and did not store it
    channels: Channels = 1

    @classmethod
    def from_record(cls, record: object, data: object, context: str) -> "Preparation":
        """Return the preparation stored in a model or in data; `data` names the data set the model was trained on.

        Older versions stored one word, and "as Fashion-MNIST's" for every data set of 28 x 28 pixels, which they did
        not change.

        Raises: FmnistError.
        """
        if record is None or record == CENTRED:
            return cls(form=CENTRED if data in (None, FASHION_MNIST, SYNTHETIC) else RESIZED)
        if record == RESIZED:
            return cls(form=RESIZED)
        try:
            return cls.model_validate(json.loads(record) if isinstance(record, str) else record)
        except (ValidationError, ValueError, RecursionError):
            raise FmnistError(
                f"{context} must say how its pictures were prepared, as fmnist-search writes it; got "
                f"{str(record)[:60]!r}. Export it again."
            ) from None

    @property
    def size(self) -> Size:
        """Return the size of the images."""
        return Size(self.side, self.channels)

    @property
    def in_colour(self) -> bool:
        """Return whether colours are read. Fashion-MNIST has none, so its form is grey in each of three channels."""
        return self.channels == 3 and self.form != CENTRED

    @property
    def of_pictures(self) -> float | None:
        """Return the stated white of picture files; a white stated for tables does not apply to them."""
        return self.white if self.whites else None

    @property
    def of_numbers(self) -> float | None:
        """Return the stated white of tables and arrays."""
        return None if self.whites else self.white


def as_image(picture: NDArray[np.uint8], preparation: Preparation) -> NDArray[np.uint8]:
    """Return the picture as an image of that form and size; a blank one is letterboxed, so that it stays blank.

    A grey picture gets three equal channels if the size has three.

    Shape: [H, W], or [H, W, 3] if the preparation is in colour -> `size.shape`.
    """
    try:
        return _shaped(picture, preparation, "")
    except BlankPictureError:
        return with_channels(letterboxed(picture, preparation.side), preparation.channels)


def with_channels(image: NDArray[np.uint8], channels: Channels) -> NDArray[np.uint8]:
    """Return a grey image with three equal channels if it is to have three. Shape: [H, W] -> [H, W, 3]."""
    return np.repeat(image[..., None], channels, axis=2) if image.ndim == 2 and channels > 1 else image


def picture_reader(preparation: Preparation) -> Callable[[Path], NDArray[np.uint8]]:
    """Return a function that reads a picture file as the training images were read. Shape: `size.shape`."""

    def read(path: Path) -> NDArray[np.uint8]:
        scale = Scale(preparation.of_pictures)
        picture = open_picture(path, scale, in_colour=preparation.in_colour)
        _require_same_scale(scale.extents, preparation, path)
        return _shaped(picture, preparation, str(path))

    return read


def read_picture(path: Path) -> NDArray[np.uint8]:
    """Read a picture for a model that was trained on Fashion-MNIST.

    Shape: [28, 28].
    Raises: FmnistError naming the file if it is missing, not a picture, too large or blank.
    """
    return picture_reader(Preparation(form=CENTRED))(path)


def remaining_white(preparation: Preparation | None, white: float | None, where: Path) -> tuple[float | None, bool]:
    """Return the white that the numbers of a file are still to be scaled by, and whether they were scaled by a stated
    one when the file was saved.

    Raises: FmnistError if the file was saved with another white than the study states: a model could store only one.
    """
    if preparation is None:
        return white, False
    if white is not None and white != preparation.white:
        raise FmnistError(
            f"The images in {where} were prepared when they were saved, with {_describe_white(preparation.white)} as "
            f"white; cleaning.white must be left out, got {white:g}. Or read the data that they were saved from."
        )
    return None, preparation.white is not None


def merge_preparations(
    preparations: Iterable[Preparation | None], form: Form, size: Size, white: float | None, where: tuple[str, str]
) -> Preparation:
    """Return the preparation of a data set from those of its splits, in the files `where`.

    A table or an array has None; `white` is what the study states for it.

    Raises: FmnistError if the splits' pictures have different whites, because a model can store only one.
    """
    stored = [preparation for preparation in preparations if preparation]
    picture_whites = {preparation.white for preparation in stored if preparation.whites}
    if len(picture_whites) > 1:
        raise FmnistError(
            "White must be the same in the pictures of train and of test; it is "
            f"{' and '.join(map(_describe_white, picture_whites))} in {' and '.join(dict.fromkeys(where))}. "
            "Save the pictures again with the same values."
        )
    stated = [*picture_whites] if picture_whites else [preparation.white for preparation in stored if preparation.white]
    whites = tuple(sorted({white for preparation in stored for white in preparation.whites}))
    return Preparation(form=form, white=stated[0] if stated else white, whites=whites, **size._asdict())


def _shaped(picture: NDArray[np.uint8], preparation: Preparation, where: str) -> NDArray[np.uint8]:
    side = preparation.side
    match preparation.form:
        case "letterboxed":
            image = letterboxed(picture, side)
        case "resized":
            image = resized(picture, side)
        case "as Fashion-MNIST's":
            image = centred(picture, where, side)
    return with_channels(image, preparation.channels)


def _describe_white(white: float | None) -> str:
    return "the usual one" if white is None else f"{white:g}"


def _require_same_scale(extents: tuple[Extent, ...], preparation: Preparation, path: Path) -> None:
    for extent in extents:
        if preparation.of_pictures and (extent.is_outside or extent.cannot_hold_white):
            raise FmnistError(
                f"Pixels must be from 0 to {preparation.white:g} for white, as in the pictures that the model was "
                f"trained on (cleaning.white of its study); those of {path} are {extent}, in a format whose largest "
                f"value is {extent.most:,g}. Save the picture again with values in that range."
            )
        # A picture may be dark. But values of 0 and 1 only, or 16 bits if no training picture had them, suggest
        # another white.
        is_other_white = extent.high <= 1 or (extent.white == DEEP and DEEP not in preparation.whites)
        if extent.is_outside or (extent.is_far_too_dark and is_other_white):
            raise FmnistError(
                "Pixels must be from 0 for black to 255, or 65,535 in 16-bit pictures, for white; those of "
                f"{path} are {extent}. Save it again, as PNG of 8 bits."
            )
