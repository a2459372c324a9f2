"""How the pictures of a data set became images of 28 x 28 pixels; kept with the data and with every model, for pictures that come later."""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from fmnist.data.official import FASHION_MNIST
from fmnist.data.pictures import centred, grey_picture, resized
from fmnist.data.scale import DEEP, Extent, Scale
from fmnist.data.synthetic import SYNTHETIC
from fmnist.errors import FmnistError

Form = Literal["resized", "as Fashion-MNIST's"]
RESIZED: Form = "resized"  # whatever they show
CENTRED: Form = "as Fashion-MNIST's"  # on black, trimmed, as large as fits, centred: of Fashion-MNIST itself, and of images drawn like it


class Preparation(BaseModel):
    """One decision for all pictures of a data set, made when it was read."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    form: Form = RESIZED
    white: float | None = None  # in the files, as the study states it; None: 255, in pictures of 16 bits 65,535
    whites: tuple[float, ...] = ()  # of the picture files among the data; () where there were none, only tables or arrays

    @classmethod
    def told(cls, record: object, data: object, where: str) -> "Preparation":
        """What a model's `origin` or metadata say under "pictures"; `data` is the name of the data set it was trained on.

        Older versions wrote a word, and "as Fashion-MNIST's" for every data set of 28 x 28 pixels, which they took as they were.
        Raises: FmnistError.
        """
        if record is None or record == CENTRED:
            return cls(form=CENTRED if data in (None, FASHION_MNIST, SYNTHETIC) else RESIZED)
        if record == RESIZED:
            return cls()
        try:
            return cls.model_validate(json.loads(record) if isinstance(record, str) else record)
        except (ValidationError, ValueError, RecursionError):
            raise FmnistError(
                f"{where} must say how its pictures were prepared, as fmnist-search writes it; got {str(record)[:60]!r}. Export it again."
            ) from None


def prepared(grey: NDArray[np.uint8], form: Form, where: str) -> NDArray[np.uint8]:
    """The picture as an image.

    Shape: [H, W] -> [28, 28].
    Raises: FmnistError naming `where`, if it is to be centred and shows nothing.
    """
    return resized(grey) if form == RESIZED else centred(grey, where)


def picture_reader(preparation: Preparation) -> Callable[[Path], NDArray[np.uint8]]:
    """What reads a picture's file the way the training images were made. Shape: [28, 28]."""

    def read(path: Path) -> NDArray[np.uint8]:
        scale = Scale(preparation.white if preparation.whites else None)
        grey = grey_picture(path, scale)
        _require_usual(scale.extents, preparation, path)
        return prepared(grey, preparation.form, str(path))

    return read


def read_picture(path: Path) -> NDArray[np.uint8]:
    """A picture as for a network that was trained on Fashion-MNIST.

    Shape: [28, 28].
    Raises: FmnistError naming the file where it is absent, no picture, too large or blank.
    """
    return picture_reader(Preparation(form=CENTRED))(path)


def joined(preparations: Iterable[Preparation | None], form: Form, white: float | None) -> Preparation:
    """That of a data set whose splits have these; None is a table's or an array's."""
    known = [one for one in preparations if one]
    whites = {white for one in known for white in one.whites}
    return Preparation(form=form, white=white or next((one.white for one in known if one.white), None), whites=tuple(sorted(whites)))


def _require_usual(extents: tuple[Extent, ...], preparation: Preparation, path: Path) -> None:
    for extent in extents:
        if extent.is_outside and preparation.white:
            raise FmnistError(
                f"The pictures that the model was trained on are from 0 to {preparation.white:g} for white (cleaning.white of its study); "
                f"those of {path} are {extent}. Save it again with these values."
            )
        if extent.is_outside or (extent.white == DEEP and extent.is_far_too_dark and DEEP not in preparation.whites):
            raise FmnistError(
                f"A picture's pixels are from 0 for black to 255, or in 16 bits 65,535, for white; those of {path} are {extent}. "
                "Save it again, as PNG of 8 bits."
            )
