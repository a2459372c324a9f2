"""A CSV file, packed or not -> Raw. PyArrow parses it, some whole lines at a time: so each row has its line, and memory
its bound.
"""

import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from fmnist.data.raw import Raw
from fmnist.data.scale import stated
from fmnist.data.table_columns import Columns, find_columns
from fmnist.data.table_values import BYTES_A_PIXEL, Batch, RowName, joined, to_batch
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
    """What does not change while a file is read."""

    path: Path
    separator: str
    columns: Columns
    white: float | None  # as the study states it


def read_csv(path: Path, *, white: float | None = None) -> Raw:
    """The rows of the table at `path`, a .csv or .csv.gz in UTF-8 whose first line names the columns, are read.

    Raises: FmnistError, with row, line and column where they are known, for whatever is not such a table of labels and
    pixels.
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
        raise FmnistError(f"{path} names its columns but has no rows. Add a row for each image.")
    pixels, labels, missing = joined(batches, table.columns.height, table.columns.width)
    return Raw(pixels, labels, missing, ignored=table.columns.ignored, extents=stated(white))


@contextmanager
def _opened(path: Path) -> Iterator[tuple[BinaryIO, io.TextIOWrapper]]:
    """The file as it is stored, and its text."""
    try:
        file = path.open("rb")
    except OSError as error:
        raise FmnistError(
            f"{path} must be a CSV file that can be read: {error.strerror}. Check the name and the permissions."
        ) from error
    with file:
        if not file.seekable():
            raise FmnistError(
                f"{path} must be a file, not a pipe: how large it is must be known. Save it as a file first."
            )
        content = gzip.GzipFile(fileobj=file) if _is_packed(path) else file
        # Bytes that are not UTF-8 become surrogates: so the line that has them is still known when they are refused.
        yield file, io.TextIOWrapper(content, encoding="utf-8-sig", errors="surrogateescape")


def _is_packed(path: Path) -> bool:
    return path.suffix.lower() == ".gz"


def _lines(path: Path, text: io.TextIOWrapper) -> Iterator[_Line]:
    """The lines that are not empty, each of which must be a whole row."""
    number = 0
    try:
        while line := text.readline(_LONGEST_LINE):
            number += 1
            if line != "\n":
                yield _Line(number, _checked(line, f"{path}, line {number:,}"))
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise FmnistError(
            f"{path} must be whole gzip data: {error} (after line {number:,}). Copy or download it again."
        ) from error
    except OSError as error:
        raise FmnistError(f"{path} must be a CSV file that can be read: {error} (after line {number:,}).") from error


def _checked(line: str, where: str) -> bytes:
    if "\0" in line:
        raise FmnistError(f"{where}: a CSV file is text; this has zero bytes, as UTF-16 has. Save it as CSV in UTF-8.")
    if len(line) == _LONGEST_LINE:
        raise FmnistError(
            f"{where}: a row must have at most {_LONGEST_LINE:,} characters; this has more. Is it a CSV file?"
        )
    if line.count('"') % 2:
        raise FmnistError(
            f"{where}: a quoted cell must end on its own line; a quotation mark has no second one. Add or remove one."
        )
    try:
        return (line if line.endswith("\n") else f"{line}\n").encode()
    except UnicodeEncodeError as error:
        received = line[error.start].encode(errors="surrogateescape").hex()
        raise FmnistError(
            f"{where}: a CSV file must be UTF-8; the byte 0x{received} in place {error.start + 1:,} is not. Save it as "
            "CSV in UTF-8."
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
            f"{path}, line {header.number:,} must name the columns: label, pixel1, ...; it cannot be read as CSV."
        ) from error
    return names


def _batches(table: _Table, file: BinaryIO, lines: Iterator[_Line]) -> Iterator[Batch]:
    before = 0  # rows
    while block := _block(lines):
        if not before:
            require_memory(_rows(table, file, block) * len(table.columns.pixels) * BYTES_A_PIXEL, str(table.path))
        yield _parsed(table, block, before)
        before += len(block)


def _block(lines: Iterator[_Line]) -> list[_Line]:
    block, size = [], 0
    for line in lines:
        block.append(line)
        size += len(line.text)
        if size >= BLOCK:
            break
    return block


def _rows(table: _Table, file: BinaryIO, block: list[_Line]) -> int:
    """About how many rows the file has, from the first of them: rather more than less."""
    stored = table.path.stat().st_size
    unpacked = min(_unpacked_size(table.path), stored * _MOST_PACKED) if _is_packed(table.path) else stored
    by_length = unpacked / sum(len(line.text) for line in block)
    by_progress = stored / max(1, file.tell())  # the length that gzip data give is modulo 4 GiB
    return int(len(block) * max(by_length, by_progress))


def _unpacked_size(path: Path) -> int:
    with path.open("rb") as file:
        file.seek(-4, io.SEEK_END)
        return int.from_bytes(file.read(4), "little")


def _parsed(table: _Table, block: list[_Line], before: int) -> Batch:
    """The rows of `block`, which come after `before` others."""

    def row_name(index: int) -> str:
        return f"{table.path}, row {before + index + 1:,} (line {block[index].number:,})"

    label, *pixels = (column.combine_chunks() for column in _cells(table, block, row_name).columns)
    return to_batch(label, pixels, table.columns, row_name, white=table.white)


def _cells(table: _Table, block: list[_Line], row_name: RowName) -> "pa.Table":
    """The label and the pixels in the order of their numbers, as text: a cell is judged, and shown, as it is
    written.
    """
    import pyarrow as pa
    from pyarrow import csv

    text = b"".join(line.text for line in block)
    names = [str(position) for position in range(len(table.columns.names))]
    wanted = [names[position] for position in (table.columns.label, *table.columns.pixels)]
    texts = dict.fromkeys(wanted, pa.dictionary(pa.int32(), pa.string()))  # each distinct text once
    ragged: list[csv.InvalidRow] = []

    def note(row: "csv.InvalidRow") -> str:
        ragged.append(row)
        return "skip"

    read = csv.read_csv(
        pa.BufferReader(text),
        csv.ReadOptions(use_threads=False, block_size=len(text) + 1, column_names=names),
        csv.ParseOptions(delimiter=table.separator, invalid_row_handler=note),
        csv.ConvertOptions(column_types=texts, include_columns=wanted),
    )
    _require_rows(read.num_rows, ragged, block, row_name)
    return read


def _require_rows(whole: int, ragged: list["csv.InvalidRow"], block: list[_Line], row_name: RowName) -> None:
    """Every line of `block` was a row, with as many columns as the first line has."""
    # A cell that begins with a quotation mark can run on although the marks of its line are even in number: a"b,"c
    if whole + len(ragged) != len(block):
        where = f"{row_name(0)} or one of the {len(block):,} rows from there on"
        raise FmnistError(
            f"{where}: a quoted cell must end on its own line; one does not. Look for stray quotation marks."
        )
    if ragged:
        raise FmnistError(
            f"{row_name(ragged[0].number - 1)}: each row must have {ragged[0].expected_columns:,} columns, as the "
            "first line has; "
            f"got {ragged[0].actual_columns:,}. Correct it, or remove it."
        )
