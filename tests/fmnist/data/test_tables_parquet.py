import io
import json
from collections.abc import Callable, Sequence
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray
from PIL import Image
from pyarrow import parquet

from fmnist.data.preparation import Preparation
from fmnist.data.raw import Raw
from fmnist.data.tables import read_parquet
from fmnist.errors import FmnistError


def _parquet(
    folder: Path, columns: dict[str, Sequence[object] | pa.Array], metadata: dict[bytes, bytes] | None = None
) -> Path:
    path = folder / "train.parquet"
    parquet.write_table(pa.table(columns).replace_schema_metadata(metadata), path)
    return path


def _pixels(raw: Raw) -> list[list[int]]:
    listed: list[list[int]] = raw.pixels.reshape(len(raw), -1).tolist()
    return listed


def _error(path: Path) -> str:
    with pytest.raises(FmnistError) as caught:
        read_parquet(path)
    message = str(caught.value)
    assert str(path) in message
    return message


@pytest.mark.parametrize(
    ("kind", "number"),
    [
        *((kind, int) for kind in (pa.int8(), pa.uint8(), pa.int64(), pa.float32(), pa.float64())),
        *((kind, str) for kind in (pa.string(), pa.large_string())),
        (pa.float16(), np.float16),
        (pa.decimal128(5, 1), Decimal),
    ],
)
def test_parquet_pixels_may_be_numbers_of_any_kind_or_text(
    tmp_path: Path, kind: pa.DataType, number: Callable[[int], object]
) -> None:
    columns = {f"pixel{place}": pa.array([number(place), None], kind) for place in range(4)}
    raw = read_parquet(_parquet(tmp_path, {"label": ["Bag", None], **columns, "__index_level_0__": [5, 6]}))
    assert _pixels(raw) == [[0, 1, 2, 3], [0, 0, 0, 0]]
    assert raw.missing is not None
    assert raw.missing.tolist() == [[[False] * 2] * 2, [[True] * 2] * 2]
    assert (raw.labels.tolist(), raw.ignored) == (["Bag", ""], ("__index_level_0__",))


@pytest.mark.parametrize(
    ("column", "read"),
    [
        (pa.array([3, None, 7]), ["3", "", "7"]),
        (pa.array([3.0, None, 7.0]), ["3", "", "7"]),
        (pa.array([3.0, float("nan"), 7.5]), ["3.0", "", "7.5"]),
        (pa.array([True, None, False]), ["True", "", "False"]),
        (pa.array(["Bag", "n/a", None]).dictionary_encode(), ["Bag", "", ""]),
        (pa.array([b"Bag", b"\xc3\x84", None]), ["Bag", "Ä", ""]),
        (pa.nulls(3), ["", "", ""]),
    ],
)
def test_parquet_labels_may_be_of_any_kind(tmp_path: Path, column: pa.Array, read: list[str]) -> None:
    assert read_parquet(_parquet(tmp_path, {"label": column, "0": [1, 2, 3]})).labels.tolist() == read


def test_a_table_of_thousands_of_columns_is_read(tmp_path: Path) -> None:
    side = 64
    columns: dict[str, Sequence[object]] = {
        f"{row}x{column}": [row, column] for row in range(side) for column in range(side)
    }
    path = _parquet(tmp_path, {"label": ["a", "b"], **columns})
    raw = read_parquet(path)
    np.testing.assert_array_equal(raw.pixels, np.indices((side, side)))


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (
            {"label": ["a", "b"], "pixel1": [7, 256]},
            "row 2, column 'pixel1': a pixel must be a whole number from 0 to 255; got '256'",
        ),
        ({"label": ["a", "b"], "pixel1": [0.5, 1.0]}, "multiply all pixels by 255"),
        ({"label": ["a", "b"], "pixel1": [0, 2**62]}, "row 2, column 'pixel1'"),
        ({"label": ["a", "b"], "pixel1": [True, False]}, "row 1, column 'pixel1'"),
        ({"label": ["a", "b"], "pixel1": [[1], [2]]}, "the column 'pixel1' must hold numbers or text; it holds list"),
        ({"label": [["a"], ["b"]], "pixel1": [1, 2]}, "the column 'label' must hold numbers or text; it holds list"),
        ({"label": [b"a", b"\xff"], "pixel1": [1, 2]}, "must be a Parquet file that can be read"),
        ({"label": ["a", "b\0"], "pixel1": [1, 2]}, "row 2, column 'label': a label must be one line"),
        ({"lable": ["a", "b"], "pixel1": [1, 2]}, "Did you mean 'lable'?"),
        ({"label": ["a", "b"], "image": ["a.png", "b.png"]}, "has no pixel columns"),
        ({"label": pa.array([], pa.string()), "pixel1": pa.array([], pa.int8())}, "has no rows"),
    ],
)
def test_an_invalid_parquet_table_is_refused(
    tmp_path: Path, columns: dict[str, Sequence[object]], message: str
) -> None:
    assert message in _error(_parquet(tmp_path, columns))


def test_a_file_that_is_not_parquet_is_refused(tmp_path: Path) -> None:
    whole = _parquet(tmp_path, {"label": ["a"], "0": [1]}).read_bytes()
    for content in (b"", b"label,pixel1\n", whole[:-1], whole[: len(whole) // 2], b"PAR1" + bytes(100) + b"PAR1"):
        path = tmp_path / "broken.parquet"
        path.write_bytes(content)
        assert "must be a Parquet file that can be read" in _error(path)


CLASSES = ("T - shirt / top", "Trouser", "Pullover")


def _described(names: Sequence[str]) -> dict[bytes, bytes]:
    return {
        b"huggingface": json.dumps({"info": {"features": {"label": {"names": names, "_type": "ClassLabel"}}}}).encode()
    }


def _png(grey: NDArray[np.uint8]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(grey).save(file, "png")
    return file.getvalue()


def _pictures(*shapes: tuple[int, int]) -> list[NDArray[np.uint8]]:
    return [np.random.default_rng(seed).integers(0, 256, shape, np.uint8) for seed, shape in enumerate(shapes)]


@pytest.mark.parametrize(
    "cell",
    [
        lambda stored: {"bytes": stored, "path": None},
        lambda stored: {"path": None, "bytes": stored},
        lambda stored: stored,
    ],
)
def test_pictures_are_read_as_hugging_face_distributes_them(tmp_path: Path, cell: Callable[[bytes], object]) -> None:
    greys = _pictures(*[(28, 28)] * 4)
    images = [cell(_png(grey)) for grey in greys]
    columns = {"image": images, "label": pa.array([2, 0, -1, None]), "split": ["a"] * 4}
    raw = read_parquet(_parquet(tmp_path, columns, _described(CLASSES)))
    assert (raw.pixels == np.array(greys)).all()
    assert raw.labels.tolist() == ["Pullover", "T - shirt / top", "", ""]
    assert (raw.classes, raw.ignored, raw.missing, raw.is_resized) == (CLASSES, ("split",), None, False)


def test_a_row_whose_picture_cannot_be_read_is_left_out_only_on_request(tmp_path: Path) -> None:
    greys = _pictures(*[(28, 28)] * 2)
    images = [_png(greys[0]), b"no picture", None, _png(greys[1])]
    path = _parquet(tmp_path, {"image": images, "label": ["a", "b", "a", "b"]})
    assert "row 2" in (told := _error(path))
    assert "--skip-unreadable" in told
    raw = read_parquet(path, skip_unreadable=True)
    assert (raw.pixels == np.array(greys)).all()
    assert raw.labels.tolist() == ["a", "b"]
    assert (raw.unreadable, raw.names) == (("row 2", "row 3"), ("row 1", "row 4"))


def test_pictures_are_scaled_by_the_stated_white(tmp_path: Path) -> None:
    ones = _pictures((28, 28))[0] % 2
    path = _parquet(tmp_path, {"image": [_png(ones)], "label": ["a"]})
    raw = read_parquet(path, pictures=Preparation(white=1))
    assert (raw.pixels == ones * 255).all()
    assert raw.preparation == Preparation(white=1, whites=(1,))


def test_pictures_of_other_sizes_are_resized_to_28_by_28(tmp_path: Path) -> None:
    greys = _pictures((28, 28), (64, 40))
    raw = read_parquet(_parquet(tmp_path, {"image": [_png(grey) for grey in greys], "label": ["a", "b"]}))
    assert raw.pixels.shape == (2, 28, 28)
    assert (raw.pixels[0] == greys[0]).all()
    assert (raw.classes, raw.is_resized) == ((), True)


@pytest.mark.parametrize(
    "image", [None, {"bytes": None, "path": "a.png"}, {"bytes": b"", "path": ""}, {"bytes": b"GIF89a", "path": ""}]
)
def test_a_row_without_a_picture_is_refused(tmp_path: Path, image: dict[str, object] | None) -> None:
    good = {"bytes": _png(_pictures((28, 28))[0]), "path": "b.png"}
    assert "train.parquet, row 2" in _error(_parquet(tmp_path, {"image": [good, image], "label": [0, 1]}))


def test_a_label_of_a_picture_must_be_a_number_or_text(tmp_path: Path) -> None:
    path = _parquet(tmp_path, {"image": [_png(_pictures((28, 28))[0])], "label": [["a"]]})
    assert "the column 'label' must hold numbers or text; it holds list" in _error(path)


def test_the_stated_white_is_returned_with_the_rows(tmp_path: Path) -> None:
    path = _parquet(tmp_path, {"label": ["a", "b"], "pixel1": [200, 40]})
    assert read_parquet(path).extents == ()
    raw = read_parquet(path, white=200)
    assert _pixels(raw) == [[255], [51]]
    assert [(extent.white, extent.is_stated) for extent in raw.extents] == [(200, True)]


def test_a_label_beyond_the_declared_classes_is_refused(tmp_path: Path) -> None:
    path = _parquet(tmp_path, {"label": [0, 3], "0": [1, 2]}, _described(CLASSES))
    assert (
        "row 2, column 'label': a label must be an index into the 3 classes that the file declares; got '3'"
        in _error(path)
    )


@pytest.mark.parametrize(
    "described", [b"{}", b"[]", b'{"info": null}', b'{"info": {"features": {"label": {"dtype": "int64"}}}}']
)
def test_metadata_without_classes_declare_none(tmp_path: Path, described: bytes) -> None:
    raw = read_parquet(_parquet(tmp_path, {"label": [0, 3], "0": [1, 2]}, {b"huggingface": described}))
    assert (raw.labels.tolist(), raw.classes) == (["0", "3"], ())


def test_damaged_metadata_are_refused(tmp_path: Path) -> None:
    path = _parquet(tmp_path, {"label": [0], "0": [1]}, {b"huggingface": b"{"})
    assert "must be JSON" in _error(path)
