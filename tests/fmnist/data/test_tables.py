import gzip
import random
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from fmnist.data import csv_tables
from fmnist.data.tables import read_csv, read_parquet
from tests.fmnist.data.csv_files import HEADER, SMALL, listed_pixels, refusal, write_text

cells = st.one_of(st.integers(0, 255), st.none())
labels = st.one_of(st.none(), st.text("abcXYZ é'/-,;", min_size=1, max_size=6).map(lambda text: f"c{text}c"))
tables = st.lists(st.tuples(labels, st.lists(cells, min_size=4, max_size=4)), min_size=1, max_size=8)


@settings(deadline=None, max_examples=100)
@given(
    rows=tables,
    order=st.permutations(range(6)),
    separator=st.sampled_from(",;\t"),
    end=st.sampled_from(["\n", "\r\n", "\r"]),
    mark=st.sampled_from(["", "\ufeff"]),
    packed=st.booleans(),
    missing=st.sampled_from(["", "NaN", "n/a", " ? "]),
    block=st.sampled_from([1, 8 << 20]),
)
def test_the_layout_of_a_table_does_not_matter(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[tuple[str | None, list[int | None]]],
    order: list[int],
    separator: str,
    end: str,
    mark: str,
    packed: bool,
    missing: str,
    block: int,
) -> None:
    table: list[list[str | int | None]] = [
        [*SMALL, "id"],
        *([label, *pixels, index] for index, (label, pixels) in enumerate(rows)),
    ]
    lines = [[missing if line[place] is None else f'"{line[place]}"' for place in order] for line in table]
    content = (mark + "".join(separator.join(line) + end for line in lines)).encode()
    folder = tmp_path_factory.mktemp("layout")
    path = write_text(folder, gzip.compress(content), "train.csv.gz") if packed else write_text(folder, content)
    columns = pa.table({str(table[0][place]): [line[place] for line in table[1:]] for place in order})
    parquet.write_table(columns, folder / "train.parquet")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(csv_tables, "BLOCK", block)
        raws = read_csv(path), read_parquet(folder / "train.parquet")
    for raw in raws:
        assert listed_pixels(raw) == [[pixel or 0 for pixel in pixels] for _, pixels in rows]
        assert raw.labels.tolist() == [label or "" for label, _ in rows]
        unknown = np.array([[pixel is None for pixel in pixels] for _, pixels in rows])
        assert (raw.missing is None) == (not unknown.any())
        assert raw.missing is None or raw.missing.reshape(unknown.shape).tolist() == unknown.tolist()
        assert (raw.ignored, raw.pixels.shape) == (("id",), (len(rows), 2, 2))
        assert raw.pixels.dtype == np.uint8


@pytest.mark.parametrize(
    ("names", "shape"),
    [
        (["pixel0", "pixel1", "pixel2", "pixel3"], (2, 2)),
        (["Pixel_1", "pixel_2", "PIXEL_3", "pixel_4"], (2, 2)),
        (["px1", "px2", "px3", "px4"], (2, 2)),
        (["p01", "p02", "p03", "p04"], (2, 2)),
        (["0", "1", "2", "3"], (2, 2)),
        (["1x1", "1x2", "1x3", "2x1", "2x2", "2x3"], (2, 3)),
        (["0x0", "0x1", "1x0", "1x1", "2x0", "2x1"], (3, 2)),
        ([f"pixel{number}" for number in range(1, 785)], (28, 28)),
    ],
)
def test_pixels_are_ordered_by_their_numbers(tmp_path: Path, names: list[str], shape: tuple[int, int]) -> None:
    columns = [(name, str(value % 256)) for value, name in enumerate(names)]
    random.Random(0).shuffle(columns)
    columns = [("Unnamed: 0", "7"), *columns, (" Label ", "Bag"), ("", "x"), ("", "y")]
    raw = read_csv(write_text(tmp_path, "\n".join(",".join(line) for line in zip(*columns, strict=True))))
    assert listed_pixels(raw) == [[value % 256 for value in range(len(names))]]
    assert raw.pixels.shape == (1, *shape)
    assert (raw.labels.tolist(), raw.ignored) == (["Bag"], ("Unnamed: 0", "", ""))


def test_a_stray_number_is_not_a_pixel(tmp_path: Path) -> None:
    raw = read_csv(write_text(tmp_path, "p1,0,label,pixel1,pixel2,pixel3,pixel4\n9,8,Bag,1,2,3,4\n"))
    assert (listed_pixels(raw), raw.ignored) == ([[1, 2, 3, 4]], ("p1", "0"))


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("lable,pixel1", "Did you mean 'lable'? Rename"),
        ("id,target,pixel1", "no column 'label'. Besides pixels it has 'id', 'target'. Rename"),
        ("pixel1,pixel2", "no column 'label'. Rename"),
        ("label,LABEL,pixel1", "must have one column 'label'; it has 'label', 'LABEL'"),
        ("label,pixel1,pixel1", "2 are called 'pixel1'"),
        ("label,note,note,pixel1", "2 are called 'note'"),
        ("label,pixel1,Pixel01", "'pixel1' and 'Pixel01' are the same pixel"),
        ("label,pixel1,pixl2,pixel3,pixel4", "'pixel2' is missing. Did you mean 'pixl2'?"),
        ("label,pixel1,pixel2,pixel4", "'pixel3' is missing."),
        ("label,0x1,1x0,1x1", "'0x0' is missing."),
        ("label,pixel2,pixel3,pixel4,pixel5", "'pixel1' is missing."),
        ("label,pixel1,pixel9999999", "'pixel2' is missing."),
        ("label,pixel1,pixel2,pixel3,pixl4", "it has 3, pixel1 to pixel3. Did you mean 'pixl4'?"),
        ("label,1x1,1x2,2x1", "'2x2' is missing."),
        ("label,1x1,9999999x9999999", "'1x2' is missing."),
        ("label,grey,note", "has no pixel columns: they must be named pixel1 to pixel784"),
        (
            "9,0,,3.5,-1",
            "the columns must have names (label, pixel1, ...), in a CSV file in the first line; got numbers",
        ),
        ('label,"pixel1', "line 1: a quoted cell must end on the line where it starts"),
        ('label"x,",pixel1', "line 1 must name the columns"),
    ],
)
def test_invalid_columns_are_refused(tmp_path: Path, header: str, message: str) -> None:
    assert message in refusal(read_csv, write_text(tmp_path, f"{header}\n{'1,' * header.count(',')}1\n"))


@pytest.mark.parametrize(
    ("cell", "value"),
    [
        ("12", 12),
        (" 12 ", 12),
        ("12.0", 12),
        ("1e2", 100),
        ("+7", 7),
        ("255", 255),
        ("-0", 0),
        ("007", 7),
        ('"9"', 9),
        (".0", 0),
    ],
)
def test_whole_numbers_are_pixels_in_any_notation(tmp_path: Path, cell: str, value: int) -> None:
    raw = read_csv(write_text(tmp_path, f"{HEADER}Bag,0,0,{cell},0\n"))
    assert (listed_pixels(raw), raw.missing) == ([[0, 0, value, 0]], None)


@pytest.mark.parametrize(
    ("header", "last"),
    [("label,pixel1,pixel2,pixel4", "'pixel3' is missing."), ("label,1x1,1x2,2x1", "'2x2' is missing.")],
)
def test_a_present_pixel_is_not_proposed_for_a_missing_one(tmp_path: Path, header: str, last: str) -> None:
    assert refusal(read_csv, write_text(tmp_path, f"{header}\n1,1,1,1\n")).endswith(last)


@pytest.mark.parametrize(("cell", "shown"), [("x", "'x'"), ("x" * 60, f"'{'x' * 60}'"), ("x" * 61, f"'{'x' * 60}...'")])
def test_an_error_shows_the_start_of_a_pixel_that_is_not_a_number_and_proposes_no_white(
    tmp_path: Path, cell: str, shown: str
) -> None:
    message = refusal(read_csv, write_text(tmp_path, f"{HEADER}Bag,0,1,{cell},0\n"))
    assert message.endswith(f"got {shown}. Correct it.")


@pytest.mark.parametrize(
    "cell", ["x", "-1", "256", "12.5", "inf", "-nan", "1_0", "0x1F", "1e400", "٣", "12,0", "True", "1 2"]
)
def test_invalid_pixels_are_refused_with_their_position(tmp_path: Path, cell: str) -> None:
    message = refusal(read_csv, write_text(tmp_path, f'{HEADER}Bag,0,0,0,0\n\n"Bag",0,0,"{cell}",0\nBag,?,x,0,0\n'))
    assert f"row 2 (line 4), column 'pixel3': a pixel must be a whole number from 0 to 255; got {cell!r}" in message


def test_the_first_bad_pixel_is_the_first_in_the_file(tmp_path: Path) -> None:
    content = "pixel4,pixel1,label,pixel3,pixel2\n0,0,Bag,0,0\n0,0,Bag,301,302\n303,0,Bag,0,0\n"
    assert "row 2 (line 3), column 'pixel3'" in refusal(read_csv, write_text(tmp_path, content))


def test_fractions_of_one_are_recognised(tmp_path: Path) -> None:
    fractions = write_text(tmp_path, f"{HEADER}Bag,0,0.5,1,0\nCoat,0,1.0,0.25,\n")
    assert "column 'pixel2'" in refusal(read_csv, fractions)
    assert "multiply all pixels by 255" in refusal(read_csv, fractions)
    assert "multiply all pixels by 255" in refusal(read_csv, write_text(tmp_path, f"{HEADER}Bag,0,0.5,0.75,0\n"))
    for largest in ("1.5", "128"):
        assert "multiply" not in refusal(
            read_csv, write_text(tmp_path, f"{HEADER}Bag,0,0.5,1,0\nCoat,0,{largest},0.25,\n")
        )


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (["3.0", "", "7.00", "NaN"], ["3", "", "7", ""]),
        (["3.0", "2.5", "", "7"], ["3.0", "2.5", "", "7"]),
        (["3.0", "Bag", "", "7"], ["3.0", "Bag", "", "7"]),
        (["07", "-1", "None", "7"], ["07", "-1", "", "7"]),
        (
            [" Ankle boot ", '"T-shirt, top"', '"say ""hi"""', "Ärmel"],
            ["Ankle boot", "T-shirt, top", 'say "hi"', "Ärmel"],
        ),
    ],
)
def test_labels_are_text_and_whole_numbers_stay_whole(tmp_path: Path, written: list[str], read: list[str]) -> None:
    raw = read_csv(write_text(tmp_path, HEADER + "".join(f"{label},1,2,3,4\n" for label in written)))
    assert raw.labels.tolist() == read


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty"),
        ("\n\n", "is empty"),
        (HEADER, "has no rows"),
        (f"{HEADER}\n\n", "has no rows"),
        (
            f"{HEADER}Bag,1,2,3,4\n\nBag,1,2,3\n",
            "row 2 (line 4): each row must have 5 columns, as the first line has; got 4",
        ),
        (f"{HEADER}Bag,1,2,3,4,5\n", "row 1 (line 2): each row must have 5 columns, as the first line has; got 6"),
        (f"{HEADER}  \n", "row 1 (line 2): each row must have 5 columns, as the first line has; got 1"),
        (f'{HEADER}Bag,1,2,3,4\n"Ba\ng",1,2,3,4\n', "line 3: a quoted cell must end on the line where it starts"),
        (f'{HEADER}Bag,1,2,3,4\n"Bag,1,2,3,4\n', "line 3: a quoted cell must end on the line where it starts"),
        (
            f'{HEADER}Bag,1,2,3,4\nB"g,",1,2\nBag,1,2,3,4\n',
            "row 1 (line 2) or one of the 3 rows from there on: a quoted cell must end",
        ),
        (f'{HEADER}B"g,1,2,3,"4\nBag,1,2,3,4\n', "row 1 (line 2)"),
        (f'{HEADER}Bag,1,2,3,4"",",\nBag,1,2,3,4\n', "quoted cell must end on the line where it starts"),
        (
            f"{HEADER}Bag,1,2,3,4\n".encode("utf-16"),
            "line 1: a CSV file must be text in UTF-8; this line has zero bytes",
        ),
        (
            f"{HEADER}Bag,1,2,3,4\nÄrmel,1,2,3,4\n".encode("latin-1"),
            "line 3: a CSV file must be UTF-8; the byte 0xc4 at position 1",
        ),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "line 1: a CSV file must be UTF-8; the byte 0x89"),
        (gzip.compress(HEADER.encode(), mtime=0), "line 1"),
        (f"{HEADER}Bag,1,2,3,\0\n", "line 2: a CSV file must be text in UTF-8; this line has zero bytes"),
        (
            f"{HEADER}{'a' * 501},1,2,3,4\n",
            "row 1 (line 2), column 'label': a label must be one line of at most 500 characters",
        ),
    ],
)
def test_a_file_that_is_not_a_table_is_refused(tmp_path: Path, content: str | bytes, message: str) -> None:
    assert message in refusal(read_csv, write_text(tmp_path, content))


def test_rows_are_counted_over_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_tables, "BLOCK", 30)
    rows = [f"c{number},{number},0,0,\n\n" if number == 5 else f"c{number},{number},0,0,0\n" for number in range(20)]
    raw = read_csv(write_text(tmp_path, HEADER + "".join(rows)))
    assert raw.labels.tolist() == [f"c{number}" for number in range(20)]
    assert raw.pixels[:, 0, 0].tolist() == list(range(20))
    assert raw.missing is not None
    assert np.argwhere(raw.missing).tolist() == [[5, 1, 1]]
    assert "row 18 (line 20), column 'pixel2'" in refusal(
        read_csv, write_text(tmp_path, HEADER + "".join(rows).replace("c17,17,0", "c17,17,x"))
    )
