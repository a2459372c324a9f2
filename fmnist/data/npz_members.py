"""Read single arrays of an untrusted .npz file: no pickle, and no more memory than its header announces."""

import lzma
import math
import struct
import tokenize
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from fmnist.errors import FmnistError

SAVE_AGAIN = "Save it again with numpy.savez_compressed"
# What zipfile and NumPy raise for damaged files.
_DAMAGED = (
    OSError, ValueError, TypeError, KeyError, IndexError, EOFError, RuntimeError, MemoryError, OverflowError,
    SyntaxError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, tokenize.TokenError,
)  # fmt: skip


class Member(NamedTuple):
    """An array in the file, before it is read."""

    path: Path
    key: str
    info: zipfile.ZipInfo
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    begin: int  # bytes of the header

    @property
    def size(self) -> int:
        """Return the number of elements."""
        return math.prod(self.shape)

    @property
    def memory(self) -> int:
        """Return the bytes of the array and of the pixels made from it."""
        return self.size * (self.dtype.itemsize + 2 * (self.dtype != np.uint8))

    def error(self, rule: str, row: int | None = None) -> FmnistError:
        """Return an error that names file, key and, counted from 1, the row."""
        place = "" if row is None else f" row {row + 1:,}"
        return FmnistError(f"{self.path} {self.key}{place}: {rule}")


@contextmanager
def damage_reported(path: Path) -> Iterator[None]:
    """Turn errors of a damaged file inside the block into an FmnistError that names it."""
    try:
        yield
    except _DAMAGED as error:
        raise FmnistError(f"{path} must be a complete .npz file: {error}. {SAVE_AGAIN}.") from error


def list_members(path: Path, archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """Return the arrays in the file by their keys in lower case."""
    infos = [info for info in archive.infolist() if info.filename.endswith(".npy")]
    members = {info.filename.removesuffix(".npy").lower(): info for info in infos}
    if len(members) < len(infos):
        raise FmnistError(
            f"{path} must name each array once, in capitals or not; got {', '.join(i.filename for i in infos)}. "
            f"{SAVE_AGAIN}."
        )
    return members


def read_header(path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Member:
    """Return the array as its header describes it.

    Raises: FmnistError if its type is not supported or it is empty.
    """
    with damage_reported(path), archive.open(info) as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Python warns while it parses some damaged headers
        read = npy.read_array_header_1_0 if npy.read_magic(file) == (1, 0) else npy.read_array_header_2_0
        shape, _, dtype = read(file)
        member = Member(path, info.filename.removesuffix(".npy"), info, shape, dtype, file.tell())
    if dtype.hasobject:
        raise member.error(
            "Python objects are not read because they could run code. Save numbers as dtype uint8 and names as dtype "
            "str."
        )
    if dtype.kind not in "buifSU":
        raise member.error(f"an array must hold numbers or strings; got {dtype}. {SAVE_AGAIN}.")
    if min(shape, default=0) < 1:
        raise member.error(f"an array must have at least one row; got the shape {list(shape)}. {SAVE_AGAIN}.")
    return member


def read_array(archive: zipfile.ZipFile, member: Member) -> NDArray[Any]:
    """Return the array.

    Raises: FmnistError if it is damaged.
    """
    length = member.begin + member.size * member.dtype.itemsize
    if length != member.info.file_size:
        raise member.error(f"its header announces {length:,} bytes; it has {member.info.file_size:,}. {SAVE_AGAIN}.")
    with damage_reported(member.path), archive.open(member.info) as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        array = npy.read_array(file, allow_pickle=False)
        file.read(1)  # zipfile compares the checksum only at the end of the file
    return np.asarray(array)
