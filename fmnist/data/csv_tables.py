"""A CSV file, packed or not -> Raw. PyArrow parses blocks of whole lines: rows keep their line numbers, memory stays
bounded.
"""

import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from fmnist.data.raw import Raw
from fmnist.data.scale import stated_extents
from fmnist.data.table_columns import Columns, find_columns
from fmnist.data.table_values import BYTES_A_PIXEL, Batch, RowName, concatenate, to_batch
from fmnist.errors import FmnistError
from fmnist.memory import require_memory

if TYPE_CHECKING:
    import pyarrow as pa
    from pyarrow import csv

BLOCK = 8 << 20  # bytes of lines parsed at once; 32 MiB take twice the time
_LONGEST_LINE = 16 << 20  # characters: 1,000,000 pixels and more
_MOST_PACKED = 1032  # bytes that a byte of gzip data can stand for


class _Line(NamedTuple):
    number: int  # from 1
    text: bytes  # UTF-8, with "\n"


class _Table(NamedTuple):
    """What stays the same while a file is read."""

    path: Path
    separator: str
    columns: Columns
    white: float | None  # as the study states it


def read_csv(path: Path, *, white: float | None = None) -> Raw:
    """Read the rows of a .csv or .csv.gz file in UTF-8 whose first line names the columns.

    Raises: FmnistError, with row, line and column if they are known, if the file is not a table of labels and pixels.
    """
    with _opened(path) as (file, text):
        lines = _lines(path, text)
        header = next(lines, None)
        if header is None:
            raise FmnistError(f"{path} is empty. Its first line must name the columns: label, pixel1, pixel2, ...")
        separator = max(",;\t", key=header.text.decode().count)
        table = _Table(path, separator, find_columns(_names(path, header, separator), str(path)), white)
        batches = list(_batches(table, file, lines))
    if not batches:
        raise FmnistError(
            f"{path} must have rows below the names of its columns; it has no rows. Add a row for each image."
        )
    pixels, labels, missing = concatenate(batches, table.columns.height, table.columns.width)
    return Raw(pixels, labels, missing, ignored=table.columns.ignored, extents=stated_extents(white))


@contextmanager
def _opened(path: Path) -> Iterator[tuple[BinaryIO, io.TextIOWrapper]]:
    """Yield the file as it is stored, and its text."""
    try:
        file = path.open("rb")
    except OSError as error:
        raise FmnistError(
            f"{path} must be a CSV file that can be read: {error.strerror}. Check the name and the permissions."
        ) from error
    with file:
        if not file.seekable():
            raise FmnistError(
                f"{path} must be a file, not a pipe: its size must be known. Save the data as a file first."
            )
        content = gzip.GzipFile(fileobj=file) if _is_packed(path) else file
        # Bytes that are not UTF-8 become surrogates, so that the error can name their line.
        yield file, io.TextIOWrapper(content, encoding="utf-8-sig", errors="surrogateescape")


def _is_packed(path: Path) -> bool:
    return path.suffix.lower() == ".gz"


def _lines(path: Path, text: io.TextIOWrapper) -> Iterator[_Line]:
    """Yield the lines that are not empty, each of which must be a whole row."""
    number = 0
    try:
        while line := text.readline(_LONGEST_LINE):
            number += 1
            if line != "\n":
                yield _Line(number, _checked(line, f"{path}, line {number:,}"))
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise FmnistError(
            f"{path} must be complete gzip data: {error} (after line {number:,}). Copy or download it again."
        ) from error
    except OSError as error:
        raise FmnistError(
            f"{path} must be a CSV file that can be read: {error} (after line {number:,}). Copy it again."
        ) from error


def _checked(line: str, where: str) -> bytes:
    if "\0" in line:
        raise FmnistError(
            f"{where}: a CSV file must be text in UTF-8; this line has zero bytes, as UTF-16 has. Save it as CSV in "
            "UTF-8."
        )
    if len(line) == _LONGEST_LINE:
        raise FmnistError(
            f"{where}: a row must have at most {_LONGEST_LINE:,} characters; this one has more. Is it a CSV file?"
        )
    if line.count('"') % 2:
        raise FmnistError(
            f"{where}: a quoted cell must end on the line where it starts; a quotation mark has no partner. Add or "
            "remove one."
        )
    try:
        return (line if line.endswith("\n") else f"{line}\n").encode()
    except UnicodeEncodeError as error:
        received = line[error.start].encode(errors="surrogateescape").hex()
        raise FmnistError(
            f"{where}: a CSV file must be UTF-8; the byte 0x{received} at position {error.start + 1:,} is not. Save it "
            "as CSV in UTF-8."
        ) from error


def _names(path: Path, header: _Line, separator: str) -> list[str]:
    import pyarrow as pa
    from pyarrow import csv

    try:
        names: list[str] = csv.read_csv(
            pa.BufferReader(header.text), parse_options=csv.ParseOptions(delimiter=separator)
        ).column_names
    except pa.ArrowInvalid as error:
        raise FmnistError(
            f"{path}, line {header.number:,} must name the columns: label, pixel1, ...; it cannot be read as CSV. "
            "Correct it."
        ) from error
    return names


def _batches(table: _Table, file: BinaryIO, lines: Iterator[_Line]) -> Iterator[Batch]:
    rows_before = 0
    while block := _block(lines):
        if not rows_before:
            count = _estimated_rows(table, file, block)
            require_memory(count * len(table.columns.pixels) * BYTES_A_PIXEL, str(table.path))
        yield _parsed(table, block, rows_before)
        rows_before += len(block)


def _block(lines: Iterator[_Line]) -> list[_Line]:
    block, size = [], 0
    for line in lines:
        block.append(line)
        size += len(line.text)
        if size >= BLOCK:
            break
    return block


def _estimated_rows(table: _Table, file: BinaryIO, block: list[_Line]) -> int:
    """Estimate the rows of the file from its first block; the estimate is rather too high than too low."""
    stored = table.path.stat().st_size
    unpacked = min(_unpacked_size(table.path), stored * _MOST_PACKED) if _is_packed(table.path) else stored
    by_length = unpacked / sum(len(line.text) for line in block)
    by_progress = stored / max(1, file.tell())  # gzip stores the length modulo 4 GiB
    return int(len(block) * max(by_length, by_progress))


def _unpacked_size(path: Path) -> int:
    with path.open("rb") as file:
        file.seek(-4, io.SEEK_END)
        return int.from_bytes(file.read(4), "little")


def _parsed(table: _Table, block: list[_Line], rows_before: int) -> Batch:
    def row_name(index: int) -> str:
        return f"{table.path}, row {rows_before + index + 1:,} (line {block[index].number:,})"

    label, *pixels = (column.combine_chunks() for column in _cells(table, block, row_name).columns)
    return to_batch(label, pixels, table.columns, row_name, white=table.white)


def _cells(table: _Table, block: list[_Line], row_name: RowName) -> "pa.Table":
    """Return the label and the pixels, in the order of their numbers, as text, so that errors show it as written."""
    import pyarrow as pa
    from pyarrow import csv

    text = b"".join(line.text for line in block)
    names = [str(position) for position in range(len(table.columns.names))]
    used = [names[position] for position in (table.columns.label, *table.columns.pixels)]
    text_types = dict.fromkeys(used, pa.dictionary(pa.int32(), pa.string()))  # each distinct text once
    ragged: list[csv.InvalidRow] = []

    def collect(row: "csv.InvalidRow") -> str:
        ragged.append(row)
        return "skip"

    cells = csv.read_csv(
        pa.BufferReader(text),
        csv.ReadOptions(use_threads=False, block_size=len(text) + 1, column_names=names),
        csv.ParseOptions(delimiter=table.separator, invalid_row_handler=collect),
        csv.ConvertOptions(column_types=text_types, include_columns=used),
    )
    _require_rows(cells.num_rows, ragged, block, row_name)
    return cells


def _require_rows(whole: int, ragged: list["csv.InvalidRow"], block: list[_Line], row_name: RowName) -> None:
    """Raise an FmnistError unless every line of `block` is a row with as many columns as the first line."""
    # A cell that begins with a quotation mark may continue on the next line even if its line has an even number of
    # marks: a"b,"c
    if whole + len(ragged) != len(block):
        rows = f"{row_name(0)} or one of the {len(block):,} rows from there on"
        raise FmnistError(
            f"{rows}: a quoted cell must end on the line where it starts; one does not. Look for stray quotation marks."
        )
    if ragged:
        raise FmnistError(
            f"{row_name(ragged[0].number - 1)}: each row must have {ragged[0].expected_columns:,} columns, as the "
            f"first line has; got {ragged[0].actual_columns:,}. Correct it, or remove it."
        )
