"""How the pictures of a data set became images of 28 x 28 pixels; kept with the data and with every model, for pictures
that come later.
"""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from fmnist.data.official import FASHION_MNIST
from fmnist.data.pictures import BlankPictureError, centred, grey_picture, resized
from fmnist.data.scale import DEEP, Extent, Scale, White
from fmnist.data.synthetic import SYNTHETIC
from fmnist.errors import FmnistError

Form = Literal["resized", "as Fashion-MNIST's"]
RESIZED: Form = "resized"  # whatever they show
# on black, trimmed, as large as fits, centred: of Fashion-MNIST itself, and of images drawn like it
CENTRED: Form = "as Fashion-MNIST's"


class Preparation(BaseModel):
    """One decision for all pictures of a data set, made when it was read."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    form: Form = RESIZED
    white: White | None = None  # in the files, as the study states it; None: 255, in pictures of 16 bits 65,535
    whites: tuple[
        White, ...
    ] = ()  # of the picture files among the data; () where there were none, only tables or arrays

    @classmethod
    def told(cls, record: object, data: object, where: str) -> "Preparation":
        """What a model's `origin` or metadata say under "pictures"; `data` is the name of the data set it was trained
        on.

        Older versions wrote a word, and "as Fashion-MNIST's" for every data set of 28 x 28 pixels, which they took as
        they were.
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
                f"{where} must say how its pictures were prepared, as fmnist-search writes it; got "
                f"{str(record)[:60]!r}. Export it again."
            ) from None

    @property
    def of_pictures(self) -> float | None:
        """What is stated to be white in picture files; of tables' numbers it says nothing about these."""
        return self.white if self.whites else None

    @property
    def of_numbers(self) -> float | None:
        """What is stated to be white in tables and arrays."""
        return None if self.whites else self.white


def as_image(grey: NDArray[np.uint8], form: Form) -> NDArray[np.uint8]:
    """The picture as an image of a data set; one that shows nothing to be centred is resized.

    Shape: [H, W] -> [28, 28].
    """
    if form == RESIZED:
        return resized(grey)
    try:
        return centred(grey, "")
    except BlankPictureError:
        return resized(grey)


def picture_reader(preparation: Preparation) -> Callable[[Path], NDArray[np.uint8]]:
    """What reads a picture's file the way the training images were made. Shape: [28, 28]."""

    def read(path: Path) -> NDArray[np.uint8]:
        scale = Scale(preparation.of_pictures)
        grey = grey_picture(path, scale)
        _require_usual(scale.extents, preparation, path)
        return resized(grey) if preparation.form == RESIZED else centred(grey, str(path))

    return read


def read_picture(path: Path) -> NDArray[np.uint8]:
    """A picture as for a network that was trained on Fashion-MNIST.

    Shape: [28, 28].
    Raises: FmnistError naming the file where it is absent, no picture, too large or blank.
    """
    return picture_reader(Preparation(form=CENTRED))(path)


def joined(
    preparations: Iterable[Preparation | None], form: Form, white: float | None, where: tuple[str, str]
) -> Preparation:
    """That of a data set whose splits, in the files `where`, have these; None is a table's or an array's, with `white`
    as stated.

    Raises: FmnistError where the splits' pictures have different whites, of which a model could know one only.
    """
    known = [one for one in preparations if one]
    of_pictures = {one.white for one in known if one.whites}
    if len(of_pictures) > 1:
        raise FmnistError(
            "White must be the same in the pictures of train and of test; it is "
            f"{' and '.join(map(_said, of_pictures))} in "
            f"{' and '.join(dict.fromkeys(where))}. Save the pictures again with the same values."
        )
    stated = [*of_pictures] if of_pictures else [one.white for one in known if one.white]
    whites = tuple(sorted({white for one in known for white in one.whites}))
    return Preparation(form=form, white=stated[0] if stated else white, whites=whites)


def _said(white: float | None) -> str:
    return "the usual one" if white is None else f"{white:g}"


def _require_usual(extents: tuple[Extent, ...], preparation: Preparation, path: Path) -> None:
    for extent in extents:
        if preparation.of_pictures and (extent.is_outside or extent.is_beyond):
            raise FmnistError(
                f"The pictures that the model was trained on are from 0 to {preparation.white:g} for white "
                "(cleaning.white of its study); "
                f"those of {path} are {extent}, of a kind that holds up to {extent.most:,g}. Save it again with these "
                "values."
            )
        # A picture may be dark; but with 0 and 1 alone, or in 16 bits that the training pictures did not have, white is
        # another.
        is_other = extent.high <= 1 or (extent.white == DEEP and DEEP not in preparation.whites)
        if extent.is_outside or (extent.is_far_too_dark and is_other):
            raise FmnistError(
                f"A picture's pixels are from 0 for black to 255, or in 16 bits 65,535, for white; those of {path} are "
                f"{extent}. "
                "Save it again, as PNG of 8 bits."
            )
