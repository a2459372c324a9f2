"""Files of NumPy arrays, valid and damaged, for tests."""

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from numpy.typing import NDArray

from fmnist.data.arrays import read_npz
from fmnist.data.raw import Raw
from fmnist.errors import FmnistError

PIXELS = np.random.default_rng(0).integers(0, 256, (5, 4, 4), np.uint8)
LABELS = np.array([3, 0, 12, 3, 1])
WORDS = ["3", "0", "12", "3", "1"]
FILES = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def read(folder: Path, **arrays: Any) -> Raw:
    np.savez(folder / "a.npz", **arrays)
    train, test = read_npz(folder / "a.npz")
    assert test is None
    return train


def refused(folder: Path, **arrays: Any) -> str:
    with pytest.raises(FmnistError) as caught:
        read(folder, **arrays)
    assert str(folder / "a.npz") in str(caught.value)
    return str(caught.value)


def header(shape: tuple[int, ...], descr: str = "|u1") -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"shape": shape, "fortran_order": False, "descr": descr})
    return file.getvalue()


def npy(array: NDArray[Any]) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array(file, array)
    return file.getvalue()


def zipped(path: Path, **contents: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for key, content in contents.items():
            archive.writestr(f"{key}.npy", content)
    return path
