"""Damaged tables are read as another reader reads the same bytes, or the error names the file."""

import csv
import gzip
import io
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from fmnist.data import csv_tables
from fmnist.data.raw import MISSING_WORDS, Raw
from fmnist.data.tables import read_csv, read_parquet
from fmnist.errors import FmnistError

NAMES = ["id", *(f"pixel{number}" for number in (3, 1, 2, 4, 16, 15, 14, 13, 5, 6, 7, 8, 9, 10, 12, 11)), "label"]
NUMBERS = np.random.default_rng(0).integers(0, 256, (9, 16)).tolist()
ROWS = [
    [f"a{index}", *(str(number) for number in row), ("Bag", "Ankle boot", "Coat")[index % 3]]
    for index, row in enumerate(NUMBERS)
]
ROWS[2][4] = ""  # a missing pixel
TABLE = [NAMES, *ROWS]
SPECIAL = (
    *(bytes([byte]) for byte in b'",;\t\n\r\0 \xff.-+e019x_NA'),
    b"\r\n",
    b'""',
    b'","',
    b"nan",
    b"256",
    b"\xc3\xa9",
    b"\xef\xbb\xbf",
)

Edit = tuple[str, float, int, bytes]
edits: st.SearchStrategy[Edit] = st.tuples(
    st.sampled_from(["insert", "replace", "delete", "cut", "double line", "delete line", "blank line"]),
    st.floats(0, 1),
    st.integers(1, 6),
    st.one_of(st.sampled_from(SPECIAL), st.binary(min_size=1, max_size=3)),
)


def _edited(content: bytes, edit: Edit) -> bytes:
    kind, place, length, piece = edit
    position = int(place * len(content))
    if kind.endswith("line"):
        lines = content.splitlines(keepends=True) or [b""]
        line = min(int(place * len(lines)), len(lines) - 1)
        lines[line : line + 1] = {
            "double line": [lines[line]] * 2,
            "delete line": [],
            "blank line": [lines[line], b"\n"],
        }[kind]
        return b"".join(lines)
    if kind == "cut":
        return content[:position]
    end = position + (0 if kind == "insert" else length)
    return content[:position] + (b"" if kind == "delete" else piece) + content[end:]


def _written(separator: str, end: str, quoting: int) -> bytes:
    text = io.StringIO()
    csv.writer(text, delimiter=separator, lineterminator=end, quoting=quoting).writerows(TABLE)  # type: ignore[arg-type]
    return text.getvalue().encode()


def _expected(content: bytes) -> tuple[list[str], list[list[float | None]]]:
    """Return labels and pixels, None if missing, as the csv module reads them."""
    text = content.decode("utf-8-sig")
    first = next(line for line in re.split(r"\r|\n", text) if line)
    header, *rows = [
        row for row in csv.reader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=first.count)) if row
    ]
    label = next(place for place, name in enumerate(header) if name.strip().lower() == "label")
    numbers = {place: name.strip().lower() for place, name in enumerate(header)}
    pixels = [place for place, name in numbers.items() if re.fullmatch(r"(pixel|px|p)?[ _-]?[0-9]+(x[0-9]+)?", name)]
    form = [re.sub("[0-9]+", "#", numbers[place]) for place in pixels]
    pixels = [place for place, kind in zip(pixels, form, strict=True) if kind == max(form, key=form.count)]
    pixels.sort(key=lambda place: [int(number) for number in re.findall("[0-9]+", numbers[place])])
    labels = ["" if (word := row[label].strip()).lower() in MISSING_WORDS else word for row in rows]
    if all(re.fullmatch(r"(-?[0-9]+(\.0+)?)?", word) for word in labels):
        labels = [word.split(".")[0] for word in labels]
    return labels, [
        [None if row[place].strip().lower() in MISSING_WORDS else float(row[place].strip()) for place in pixels]
        for row in rows
    ]


def _require_equal(raw: Raw, content: bytes) -> None:
    labels, pixels = _expected(content)
    missing = np.zeros(raw.pixels.shape, np.bool_) if raw.missing is None else raw.missing
    assert raw.labels.tolist() == labels
    assert np.where(missing, np.nan, raw.pixels).reshape(len(labels), -1).tolist() == pytest.approx(
        np.array(pixels, float), abs=0, nan_ok=True
    )


def _read_or_error(read: Callable[[Path], Raw], path: Path) -> Raw | None:
    try:
        return read(path)
    except FmnistError as error:
        message = str(error)
    assert str(path) in message
    return None


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("damaged")


@pytest.mark.slow
@settings(deadline=None, max_examples=300)
@given(
    separator=st.sampled_from(",;\t"),
    end=st.sampled_from(["\n", "\r\n"]),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    damage=st.lists(edits, min_size=1, max_size=4),
    block=st.sampled_from([1, 150, 8 << 20]),
)
def test_damaged_csv_is_read_correctly_or_refused(
    folder: Path, separator: str, end: str, quoting: int, damage: list[Edit], block: int
) -> None:
    content = _written(separator, end, quoting)
    for edit in damage:
        content = _edited(content, edit)
    path = folder / "damaged.csv"
    path.write_bytes(content)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(csv_tables, "BLOCK", block)
        raw = _read_or_error(read_csv, path)
    if raw is not None:
        _require_equal(raw, content)


@settings(deadline=None, max_examples=100)
@given(column=st.integers(0, 17), row=st.integers(0, 9), cell=st.text(max_size=8))
def test_every_cell_is_read_correctly_or_refused(folder: Path, column: int, row: int, cell: str) -> None:
    table = [list(line) for line in TABLE]
    table[row][column] = cell
    text = io.StringIO()
    csv.writer(text).writerows(table)
    path = folder / "cell.csv"
    path.write_bytes(text.getvalue().encode(errors="replace"))
    if (raw := _read_or_error(read_csv, path)) is not None:
        _require_equal(raw, path.read_bytes())


@settings(deadline=None, max_examples=100)
@given(damage=st.lists(edits, min_size=1, max_size=3))
def test_damaged_gzip_data_are_read_correctly_or_refused(folder: Path, damage: list[Edit]) -> None:
    content = gzip.compress(_written(",", "\n", csv.QUOTE_MINIMAL), mtime=0)
    for edit in damage:
        content = _edited(content, edit)
    path = folder / "damaged.csv.gz"
    path.write_bytes(content)
    if (raw := _read_or_error(read_csv, path)) is not None:
        _require_equal(raw, gzip.decompress(content))


@pytest.mark.parametrize("kind", [pa.uint8(), pa.string()])
@settings(deadline=None, max_examples=100)
@given(damage=st.lists(edits, min_size=1, max_size=3))
def test_damaged_parquet_is_read_or_refused(folder: Path, kind: pa.DataType, damage: list[Edit]) -> None:
    columns = {
        f"pixel{place}": pa.array(column, pa.int64()).cast(kind)
        for place, column in enumerate(zip(*NUMBERS, strict=True))
    }
    whole = io.BytesIO()
    parquet.write_table(pa.table({"label": [row[-1] for row in ROWS], **columns}), whole)
    content = whole.getvalue()
    for edit in damage:
        content = _edited(content, edit)
    path = folder / "damaged.parquet"
    path.write_bytes(content)
    raw = _read_or_error(read_parquet, path)
    assert raw is None or len(raw.pixels) == len(raw.labels) > 0
