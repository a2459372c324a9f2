"""A Parquet file -> Raw: a table of pixels, or a column of pictures as in image data sets of Hugging Face."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fmnist.data.pictures import decode_picture
from fmnist.data.preparation import Preparation, as_image
from fmnist.data.raw import Raw
from fmnist.data.scale import Scale, stated_extents
from fmnist.data.table_columns import find_columns, find_label
from fmnist.data.table_values import BYTES_A_PIXEL, Batch, RowName, concatenate, to_batch, to_labels
from fmnist.errors import FmnistError
from fmnist.memory import require_memory

if TYPE_CHECKING:
    import pyarrow as pa
    from pyarrow import parquet

_CELLS = 4 << 20  # read at a time
_PICTURES = 1000  # read at a time
_FLAT = (  # predicates of pyarrow.types
    *("is_integer", "is_floating", "is_decimal", "is_boolean", "is_null"),
    *("is_string", "is_large_string", "is_string_view"),
    *("is_binary", "is_large_binary", "is_binary_view", "is_fixed_size_binary"),
)

ReadBatch = Callable[["pa.RecordBatch", RowName], Batch]


def read_parquet(
    path: Path, *, white: float | None = None, pictures: Preparation | None = None, skip_unreadable: bool = False
) -> Raw:
    """Read the rows of the Parquet file at `path`.

    Its columns are a label and pixels, or `label` and pictures, such as PNG files, called `image`. `white` applies to
    pixels; `pictures` says how pictures become images. With `skip_unreadable`, rows whose picture cannot be read
    are left out.

    Raises: FmnistError, with row and column if they are known, if the file is not such a table.
    """
    with _opened(path) as file:
        schema = file.schema_arrow  # built on each access
        picture = next((position for position, field in enumerate(schema) if _is_picture(field.name, field.type)), None)
        if picture is None:
            return _read_pixels(path, file, schema, white)
        return _read_pictures(path, file, schema, picture, pictures or Preparation(), skip_unreadable)


@contextmanager
def _opened(path: Path) -> Iterator["parquet.ParquetFile"]:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        with path.open("rb") as stored, parquet.ParquetFile(stored) as file:
            if file.metadata.num_rows == 0:
                raise FmnistError(f"{path} must have rows; it has no rows. Add a row for each image.")
            yield file
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or " ".join(str(error).split()).rstrip(".")
        raise FmnistError(
            f"{path} must be a Parquet file that can be read: {reason}. Check the name, or write it again."
        ) from error


def _is_picture(name: str, kind: "pa.DataType") -> bool:
    import pyarrow as pa

    stored = kind.field("bytes").type if pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0 else kind
    return name.strip().lower() == "image" and (pa.types.is_binary(stored) or pa.types.is_large_binary(stored))


def _read_pixels(path: Path, file: "parquet.ParquetFile", schema: "pa.Schema", white: float | None) -> Raw:
    names = schema.names
    columns = find_columns(names, str(path))
    used = [names[position] for position in (columns.label, *columns.pixels)]
    _require_flat(path, schema, used)
    require_memory(file.metadata.num_rows * len(columns.pixels) * BYTES_A_PIXEL, str(path))
    classes = _classes(path, schema, used[0])

    def read(batch: "pa.RecordBatch", row_name: RowName) -> Batch:
        label, *pixels = (batch.column(name) for name in used)
        return to_batch(label, pixels, columns, row_name, classes, white=white)

    rows = max(1, _CELLS // len(used))
    pixels, labels, missing = concatenate(_batches(path, file, used, rows, read), columns.height, columns.width)
    return Raw(pixels, labels, missing, classes=classes, ignored=columns.ignored, extents=stated_extents(white))


def _read_pictures(
    path: Path,
    file: "parquet.ParquetFile",
    schema: "pa.Schema",
    picture: int,
    preparation: Preparation,
    skip_unreadable: bool,
) -> Raw:
    names = schema.names
    used = [names[find_label(names, str(path))], names[picture]]
    _require_flat(path, schema, used[:1])
    require_memory(file.metadata.num_rows * preparation.size.bytes * BYTES_A_PIXEL, str(path))
    classes = _classes(path, schema, used[0])
    sizes: set[tuple[int, ...]] = set()
    scale, kept, unreadable = Scale(preparation.white), list[str](), list[str]()

    def read(batch: "pa.RecordBatch", row_name: RowName) -> Batch:
        opened, places = list[NDArray[np.uint8]](), list[int]()
        for index, cell in enumerate(batch.column(used[1]).to_pylist()):
            where = row_name(index)
            try:
                opened.append(_opened_cell(cell, where, scale, in_colour=preparation.in_colour))
            except FmnistError as error:
                if not skip_unreadable:
                    raise FmnistError(f"{error} Or skip unreadable pictures with --skip-unreadable.") from error
                unreadable.append(where.removeprefix(f"{path}, "))
            else:
                places.append(index)
                kept.append(where.removeprefix(f"{path}, "))
        sizes.update(picture.shape[:2] for picture in opened)
        images = [as_image(picture, preparation) for picture in opened]
        pixels = np.array(images, np.uint8).reshape(len(images), *preparation.size.shape)
        return Batch(pixels, None, to_labels(batch.column(used[0]), row_name, classes)[places])

    pixels, labels, _ = concatenate(_batches(path, file, used, _PICTURES, read), *preparation.size.shape)
    return Raw(
        pixels,
        labels,
        names=tuple(kept) if unreadable else None,
        classes=classes,
        ignored=tuple(name.strip() for name in names if name not in used),
        unreadable=tuple(unreadable),
        extents=scale.extents,
        preparation=preparation.model_copy(update={"whites": scale.whites}),
        is_resized=sizes != {(preparation.side, preparation.side)},
    )


def _opened_cell(cell: object, where: str, scale: Scale, *, in_colour: bool) -> NDArray[np.uint8]:
    content = cell.get("bytes") if isinstance(cell, dict) else cell
    if not isinstance(content, bytes) or not content:
        raise FmnistError(
            f"{where}, column 'image' must hold a picture; it is empty. Remove the row, or store the picture in the "
            "file."
        )
    return decode_picture(content, where, scale, in_colour=in_colour)


def _batches(path: Path, file: "parquet.ParquetFile", used: list[str], rows: int, read: ReadBatch) -> list[Batch]:
    """Read all rows of the columns `used`, at most `rows` at a time."""
    batches, rows_before = [], 0
    for cells in file.iter_batches(rows, columns=used, use_threads=False):
        cells.validate(full=True)  # offsets in damaged data can point anywhere
        batches.append(read(cells, partial(_row_name, path, rows_before)))
        rows_before += len(cells)
    if rows_before != (announced := file.metadata.num_rows):
        raise FmnistError(
            f"{path} must have the {announced:,} rows it announces; it has {rows_before:,}. Write or copy it again."
        )
    return batches


def _row_name(path: Path, rows_before: int, index: int) -> str:
    return f"{path}, row {rows_before + index + 1:,}"


def _require_flat(path: Path, schema: "pa.Schema", used: list[str]) -> None:
    import pyarrow as pa

    for name in used:
        kind = schema.field(name).type
        kind = kind.value_type if pa.types.is_dictionary(kind) else kind
        if not any(getattr(pa.types, predicate)(kind) for predicate in _FLAT):
            raise FmnistError(
                f"{path}: the column {name!r} must hold numbers or text; it holds {kind}. Write it as one of these."
            )


def _classes(path: Path, schema: "pa.Schema", label: str) -> tuple[str, ...]:
    """Return the classes that Hugging Face's metadata declare for the label; () if they declare none."""
    try:
        names = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))["info"]["features"][label]["names"]
    except (LookupError, TypeError):
        return ()
    except ValueError as error:
        raise FmnistError(f"{path}: its metadata 'huggingface' must be JSON: {error}. Write the file again.") from error
    return tuple(str(name).strip() for name in names)
