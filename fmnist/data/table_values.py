"""The cells of a table -> pixels and labels; errors name row and column."""

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

BYTES_A_PIXEL = 4  # the pixel and whether it is missing, both twice while the batches are concatenated
LONGEST_LABEL = 500  # characters; NumPy stores every label with the length of the longest
_WHOLE = re.compile(r"(-?[0-9]+)(?:\.0+)?")
_MISSING, _BAD = -1, -2

RowName = Callable[[int], str]  # a row's index in its batch -> file and row, for errors


class Batch(NamedTuple):
    """Some rows of a table.

    Shape: pixels uint8 [N, P]; missing bool [N, P], None if no pixel is missing; labels str [N].
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
    """Convert a label column and the pixel columns, which are in the order of `columns.pixels`.

    Raises: FmnistError for the first pixel that is not a whole number from 0 to 255, or with `white` a number from 0 to
    that, and for a label that `to_labels` rejects.
    """
    codes = np.empty((len(label), len(pixels)), np.int16)
    for index, column in enumerate(pixels):
        words, code_of_row = _encoded(column)
        codes[:, index] = np.array([_code(word, white) for word in words], np.int16)[code_of_row]
    if (bad := codes == _BAD).any():
        raise FmnistError(_bad_pixel(bad, pixels, columns, row_name, white))
    missing = codes == _MISSING
    codes[missing] = 0
    return Batch(codes.astype(np.uint8), missing if missing.any() else None, to_labels(label, row_name, classes))


def to_labels(column: "pa.Array", row_name: RowName, classes: Sequence[str] = ()) -> NDArray[np.str_]:
    """Return the labels as text, "" if missing; whole numbers are indices into `classes` if the source declares them.

    Shape: [N]
    Raises: FmnistError for a label that is very long or has several lines, or a number that is not an index.
    """
    import pyarrow as pa

    words, code_of_row = _encoded(column)
    labels: list[str | None]
    if classes and pa.types.is_integer(column.type):
        name_of = {"": "", "-1": ""} | {str(index): name for index, name in enumerate(classes)}  # -1: no label
        labels = [name_of.get(word) for word in words]
        rule = f"an index into the {len(classes)} classes that the file declares"
    else:
        labels = [_label(word) for word in words]
        rule = f"one line of at most {LONGEST_LABEL} characters"
    if None in labels:
        row = int(np.argmax([labels[code] is None for code in code_of_row]))
        received = words[code_of_row[row]]
        raise FmnistError(
            f"{row_name(row)}, column 'label': a label must be {rule}; got {_shown(received)}. Correct it."
        )
    return np.array(labels, np.str_)[code_of_row]


def concatenate(
    batches: Sequence[Batch], *shape: int
) -> tuple[NDArray[np.uint8], NDArray[np.str_], NDArray[np.bool_] | None]:
    """Return the pixels of images of that shape, labels and missing pixels of all rows, as in a Raw.

    Shape: pixels [N, *shape]; labels [N]; missing [N, *shape], None if no pixel is missing.
    """
    pixels = np.concatenate([batch.pixels for batch in batches]).reshape(-1, *shape)
    labels = _without_fractions(np.concatenate([batch.labels for batch in batches]))
    if all(batch.missing is None for batch in batches):
        return pixels, labels, None
    missing = np.concatenate(
        [np.zeros(batch.pixels.shape, np.bool_) if batch.missing is None else batch.missing for batch in batches]
    )
    return pixels, labels, missing.reshape(pixels.shape)


def _encoded(column: "pa.Array") -> tuple[list[str], NDArray[np.int64]]:
    """Return the distinct values of a column as text, "" for null, and for each row the index of its value."""
    import pyarrow as pa

    if pa.types.is_float16(column.type):
        column = column.cast(pa.float32())  # PyArrow 18 cannot encode float16
    encoded = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
    words = [_written(value) for value in encoded.dictionary.to_pylist()]
    return [*words, ""], encoded.indices.cast(pa.int64()).fill_null(len(words)).to_numpy()


def _written(value: object) -> str:
    if value is None:
        return ""
    return value.decode() if isinstance(value, bytes) else str(value)


@lru_cache(maxsize=10_000)
def _code(word: str, white: float | None) -> int:
    """Return the pixel of a cell, from 0 to 255, or _MISSING or _BAD."""
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
    """Return the label of a cell, "" if missing, None if it cannot be a label."""
    label = word.strip()
    if label.lower() in MISSING_WORDS:
        return ""
    return None if len(label) > LONGEST_LABEL or any(char in word for char in "\n\r\0") else label


def _bad_pixel(
    bad: NDArray[np.bool_], pixels: Sequence["pa.Array"], columns: Columns, row_name: RowName, white: float | None
) -> str:
    """Return the error for the first bad pixel, in the order of the rows and columns of the table."""
    row = int(bad.any(axis=1).argmax())
    index = min(np.flatnonzero(bad[row]).tolist(), key=lambda index: columns.pixels[index])
    words, code_of_row = _encoded(pixels[index])
    word = words[code_of_row[row]]
    where = f"{row_name(row)}, column {columns.names[columns.pixels[index]]!r}"
    rule = f"a number from 0 to {white:g}, the study's cleaning.white" if white else "a whole number from 0 to 255"
    return f"{where}: a pixel must be {rule}; got {_shown(word)}. {_advice(word, pixels)}"


def _advice(word: str, pixels: Sequence["pa.Array"]) -> str:
    if not NUMBER.fullmatch(word.strip()):
        return "Correct it."
    numbers = [float(word) for column in pixels for word in _encoded(column)[0] if NUMBER.fullmatch(word.strip())]
    low, high = min(numbers), max(numbers)
    is_fraction = low >= 0 and high <= 1
    hint = "These look like fractions of 1: multiply all pixels by 255 and round." if is_fraction else "Correct it."
    return f"{hint} The pixels read are from {low:,g} to {high:,g}. {how_to_state(low, high)}".rstrip()


def _shown(word: str) -> str:
    return repr(word if len(word) <= 60 else f"{word[:60]}...")


def _without_fractions(labels: NDArray[np.str_]) -> NDArray[np.str_]:
    """Return the labels with 3.0 as 3 if all are whole numbers: pandas writes 3.0 if some values are missing."""
    distinct, code_of_row = np.unique(labels, return_inverse=True)
    whole = [_WHOLE.fullmatch(label) for label in distinct if label]
    if not all(whole):
        return labels
    return np.array([label.partition(".")[0] for label in distinct], np.str_)[code_of_row]
