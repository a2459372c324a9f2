"""A row of numbers is read only if it can be an image of exactly one shape."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from fmnist.errors import FmnistError
from tests.fmnist.data.forms import open_source

LENGTHS = [
    (56 * 56, "could be 56 x 56 grey or 28 x 28 with 4 channels"),
    (64 * 64, "could be 64 x 64 grey or 32 x 32 with 4 channels"),
    (28 * 28 * 3, "28 x 28 with 3 channels"),
    (28 * 32, "28 x 32 or 32 x 28 grey"),
    (840, "could be 28 x 30 or 30 x 28 grey or 24 x 35 or 35 x 24 grey. "),  # 21 x 40 is a third
    (918, "could be 27 x 34 or 34 x 27 grey. "),  # the longer side of 18 x 51 is more than twice the other
    (787, "787 numbers are not an image of a usual shape"),
    (28 * 28 * 3 + 1, "2,353 numbers are not an image of a usual shape"),
]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


def write(path: Path, length: int) -> Path:
    rows = np.random.default_rng(0).integers(0, 256, (20, length), np.uint8)
    labels = np.arange(20) % 2
    names = ["label", *(f"pixel{place}" for place in range(length))]
    if path.suffix == ".npz":
        np.savez(path, x=rows, y=labels)
    elif path.suffix == ".csv":
        path.write_text(
            "\n".join(
                [",".join(names), *(",".join(map(str, [label, *row])) for label, row in zip(labels, rows, strict=True))]
            )
        )
    else:
        parquet.write_table(pa.table([pa.array(labels), *map(pa.array, rows.T)], names=names), path)
    return path


@pytest.mark.parametrize(
    ("name", "length", "readings"),
    [*((name, *case) for name in ("flat.npz", "flat.csv") for case in LENGTHS), ("flat.parquet", *LENGTHS[0])],
)
def test_ambiguous_rows_of_numbers_are_refused_naming_the_possible_shapes(
    name: str, length: int, readings: str, tmp_path: Path
) -> None:
    with pytest.raises(FmnistError) as caught:
        open_source(write(tmp_path / name, length))
    assert readings in str(caught.value)
    assert name in str(caught.value)


@pytest.mark.parametrize("side", [8, 16, 28, 32, 51])
def test_other_squares_are_read_as_grey_images(side: int, tmp_path: Path) -> None:
    assert len(open_source(write(tmp_path / "flat.npz", side**2)).train()) == 17
