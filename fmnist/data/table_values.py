"""A table's cells -> pixels and labels; what cannot be one is an error that names its row and column."""

import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fmnist.data.raw import MISSING_WORDS
from fmnist.data.scale import BYTE, how_to_state
from fmnist.data.table_columns import NUMBER, Columns
from fmnist.errors import FmnistError

if TYPE_CHECKING:
    import pyarrow as pa

BYTES_A_PIXEL = 4  # the pixel and whether it is missing, both twice while the batches are joined
LONGEST_LABEL = 500  # characters; NumPy gives every label the room of the longest
_WHOLE = re.compile(r"(-?[0-9]+)(?:\.0+)?")
_MISSING, _BAD = -1, -2

RowName = Callable[[int], str]  # a row's index in its batch -> file and row, as a person calls them


class Batch(NamedTuple):
    """Some rows of a table.

    Shape: pixels uint8 [N, P]; missing bool [N, P], None where no pixel is; labels str [N].
    """

    pixels: NDArray[np.uint8]
    missing: NDArray[np.bool_] | None
    labels: NDArray[np.str_]


def to_batch(
    label: "pa.Array",
    pixels: Sequence["pa.Array"],
    columns: Columns,
    row_name: RowName,
    classes: Sequence[str] = (),
    *,
    white: float | None = None,
) -> Batch:
    """The rows of a label column and of the pixel columns, which come in the order of `columns.pixels`.

    Raises: FmnistError for the first pixel that is not a whole number from 0 to 255, or with `white` a number from 0 to
    that, and for a
        label that `to_labels` refuses.
    """
    codes = np.empty((len(label), len(pixels)), np.int16)
    for index, column in enumerate(pixels):
        words, of_row = _encoded(column)
        codes[:, index] = np.array([_code(word, white) for word in words], np.int16)[of_row]
    if (bad := codes == _BAD).any():
        raise FmnistError(_bad_pixel(bad, pixels, columns, row_name, white))
    missing = codes == _MISSING
    codes[missing] = 0
    return Batch(codes.astype(np.uint8), missing if missing.any() else None, to_labels(label, row_name, classes))


def to_labels(column: "pa.Array", row_name: RowName, classes: Sequence[str] = ()) -> NDArray[np.str_]:
    """The labels as text, "" where missing; whole numbers are places in `classes` where the source declares such.

    Shape: [N]
    Raises: FmnistError for a label that is very long or has several lines, or a number that is no place in `classes`.
    """
    import pyarrow as pa

    words, of_row = _encoded(column)
    if classes and pa.types.is_integer(column.type):
        place = {"": "", "-1": ""} | {
            str(index): name for index, name in enumerate(classes)
        }  # -1 is Hugging Face's "no label"
        labels, rule = (
            [place.get(word) for word in words],
            f"a place among the {len(classes)} classes that the file declares",
        )
    else:
        labels, rule = [_label(word) for word in words], f"one line of at most {LONGEST_LABEL} characters"
    if None in labels:
        row = int(np.argmax([labels[code] is None for code in of_row]))
        received = words[of_row[row]]
        raise FmnistError(
            f"{row_name(row)}, column 'label': a label must be {rule}; got {_shown(received)}. Correct it."
        )
    return np.array(labels, np.str_)[of_row]


def joined(
    batches: Sequence[Batch], height: int, width: int
) -> tuple[NDArray[np.uint8], NDArray[np.str_], NDArray[np.bool_] | None]:
    """The pixels, labels and missing pixels of all rows, as in a Raw.

    Shape: pixels [N, H, W]; labels [N]; missing [N, H, W], None where no pixel is.
    """
    pixels = np.concatenate([batch.pixels for batch in batches]).reshape(-1, height, width)
    labels = _without_fractions(np.concatenate([batch.labels for batch in batches]))
    if all(batch.missing is None for batch in batches):
        return pixels, labels, None
    missing = np.concatenate(
        [np.zeros(batch.pixels.shape, np.bool_) if batch.missing is None else batch.missing for batch in batches]
    )
    return pixels, labels, missing.reshape(pixels.shape)


def _encoded(column: "pa.Array") -> tuple[list[str], NDArray[np.int64]]:
    """The distinct values of a column as they are written, "" for null, and for each row its place among them."""
    import pyarrow as pa

    if pa.types.is_float16(column.type):
        column = column.cast(pa.float32())  # PyArrow 18 cannot encode the former
    encoded = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
    words = [_written(value) for value in encoded.dictionary.to_pylist()]
    return [*words, ""], encoded.indices.cast(pa.int64()).fill_null(len(words)).to_numpy()


def _written(value: object) -> str:
    if value is None:
        return ""
    return value.decode() if isinstance(value, bytes) else str(value)


@lru_cache(maxsize=10_000)
def _code(word: str, white: float | None) -> int:
    """The pixel that a cell says, from 0 to 255, _MISSING or _BAD."""
    word = word.strip()
    if word.lower() in MISSING_WORDS:
        return _MISSING
    value = float(word) if NUMBER.fullmatch(word) else -1.0
    if not 0 <= value <= (white or BYTE):
        return _BAD
    if white:
        return round(value * (BYTE / white))
    return int(value) if value.is_integer() else _BAD


def _label(word: str) -> str | None:
    """The label that a cell says, "" where missing, None where it cannot be one."""
    label = word.strip()
    if label.lower() in MISSING_WORDS:
        return ""
    return None if len(label) > LONGEST_LABEL or any(mark in word for mark in "\n\r\0") else label


def _bad_pixel(
    bad: NDArray[np.bool_], pixels: Sequence["pa.Array"], columns: Columns, row_name: RowName, white: float | None
) -> str:
    """What is wrong with the first bad pixel, first as a person who reads the table meets them."""
    row = int(bad.any(axis=1).argmax())
    index = min(np.flatnonzero(bad[row]).tolist(), key=lambda index: columns.pixels[index])
    words, of_row = _encoded(pixels[index])
    where = f"{row_name(row)}, column {columns.names[columns.pixels[index]]!r}"
    rule = f"a number from 0 to {white:g}, which cleaning.white says" if white else "a whole number from 0 to 255"
    return f"{where}: a pixel must be {rule}; got {_shown(words[of_row[row]])}. {_advice(words[of_row[row]], pixels)}"


def _advice(word: str, pixels: Sequence["pa.Array"]) -> str:
    if not NUMBER.fullmatch(word.strip()):
        return "Correct it."
    numbers = [float(word) for column in pixels for word in _encoded(column)[0] if NUMBER.fullmatch(word.strip())]
    low, high = min(numbers), max(numbers)
    is_share = low >= 0 and high <= 1
    hint = "These look like fractions of 1: multiply all pixels by 255 and round them." if is_share else "Correct it."
    return f"{hint} The pixels read are from {low:,g} to {high:,g}. {how_to_state(low, high)}".rstrip()


def _shown(word: str) -> str:
    return repr(word if len(word) <= 60 else f"{word[:60]}...")


def _without_fractions(labels: NDArray[np.str_]) -> NDArray[np.str_]:
    """The labels, 3.0 as 3 where all are whole numbers: so pandas writes whole numbers of which some are missing."""
    distinct, of_row = np.unique(labels, return_inverse=True)
    whole = [_WHOLE.fullmatch(label) for label in distinct if label]
    if not all(whole):
        return labels
    return np.array([label.partition(".")[0] for label in distinct], np.str_)[of_row]
