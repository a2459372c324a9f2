import gzip
import os
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fmnist.data.raw import Raw
from fmnist.data.tables import read_csv, read_parquet
from tests.fmnist.data.csv_files import HEADER, listed_pixels, refusal, write_text


def _noise(rows: int) -> bytes:
    generator = np.random.default_rng(0)
    return (HEADER + "".join(f"c,{','.join(map(str, generator.integers(0, 256, 4)))}\n" for _ in range(rows))).encode()


def test_damaged_gzip_data_are_refused(tmp_path: Path) -> None:
    whole = gzip.compress(_noise(2000))
    wrong_sum = whole[:-8] + zlib.crc32(b"other").to_bytes(4, "little") + whole[-4:]
    for content in (
        whole[:-4],
        whole[: len(whole) // 2],
        whole[:5],
        whole + b"more",
        wrong_sum,
        _noise(2),
        HEADER.encode(),
    ):
        assert "must be complete gzip data" in refusal(read_csv, write_text(tmp_path, content, "train.csv.gz"))
    assert "is empty" in refusal(read_csv, write_text(tmp_path, b"", "train.csv.gz"))


def test_gzip_data_with_several_members_are_read(tmp_path: Path) -> None:
    content = _noise(2000)
    path = write_text(tmp_path, gzip.compress(content[:999]) + gzip.compress(content[999:]), "train.csv.gz")
    assert listed_pixels(read_csv(path)) == listed_pixels(read_csv(write_text(tmp_path, content)))


def test_a_pipe_is_refused(tmp_path: Path) -> None:
    pipe = tmp_path / "train.csv"
    os.mkfifo(pipe)
    end = os.open(pipe, os.O_RDWR)  # otherwise opening it for reading waits for a writer
    try:
        assert "must be a file, not a pipe" in refusal(read_csv, pipe)
    finally:
        os.close(end)


@pytest.mark.parametrize("read", [read_csv, read_parquet])
def test_a_file_that_cannot_be_opened_is_refused(tmp_path: Path, read: Callable[[Path], Raw]) -> None:
    assert "No such file" in refusal(read, tmp_path / "absent.csv")
    assert "Is a directory" in refusal(read, tmp_path)
    locked = write_text(tmp_path, HEADER)
    locked.chmod(0)
    if not os.access(locked, os.R_OK):  # root may read everything
        assert "Permission denied" in refusal(read, locked)


def test_a_table_larger_than_memory_is_refused_before_it_is_read(tmp_path: Path) -> None:
    row = f"Bag{',0' * 784}\n"
    content = (",".join(["label", *(f"pixel{number}" for number in range(784))]) + "\n" + row * 5500).encode()
    # The length at the end of the gzip data is then 0; only the position after the first rows gives the estimate.
    for path in (write_text(tmp_path, content), write_text(tmp_path, gzip.compress(content), "train.csv.gz")):
        os.truncate(path, 1 << 43)  # a sparse file: nothing is written
        assert "GiB of memory to read" in refusal(read_csv, path)
