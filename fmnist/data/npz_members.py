"""The arrays of an .npz file, one by one, from a file that nothing is known of: no pickle, and no more memory than its
header allows.
"""

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
# What zipfile and NumPy raise for files that are damaged.
_DAMAGED = (
    OSError, ValueError, TypeError, KeyError, IndexError, EOFError, RuntimeError, MemoryError, OverflowError,
    SyntaxError,
    zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, tokenize.TokenError,
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
        """Numbers or strings in it."""
        return math.prod(self.shape)

    @property
    def memory(self) -> int:
        """Bytes of the array and of the pixels that are made of it."""
        return self.size * (self.dtype.itemsize + 2 * (self.dtype != np.uint8))

    def wrong(self, rule: str, row: int | None = None) -> FmnistError:
        """The error that names file and key and, counted from 1, the row."""
        place = "" if row is None else f" row {row + 1:,}"
        return FmnistError(f"{self.path} {self.key}{place}: {rule}")


@contextmanager
def damage_named(path: Path) -> Iterator[None]:
    """What goes wrong within is an FmnistError that names the file."""
    try:
        yield
    except _DAMAGED as error:
        raise FmnistError(f"{path} must be a whole .npz file: {error}. {SAVE_AGAIN}.") from error


def members_of(path: Path, archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """The arrays in the file by their keys in lower case."""
    infos = [info for info in archive.infolist() if info.filename.endswith(".npy")]
    members = {info.filename.removesuffix(".npy").lower(): info for info in infos}
    if len(members) < len(infos):
        raise FmnistError(
            f"{path} must name each array once, in capitals or not; got {', '.join(i.filename for i in infos)}. "
            f"{SAVE_AGAIN}."
        )
    return members


def header_of(path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Member:
    """The array as its header announces it.

    Raises: FmnistError where it holds what is not read, or nothing.
    """
    with damage_named(path), archive.open(info) as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Python warns of some damaged headers while it parses them
        read = npy.read_array_header_1_0 if npy.read_magic(file) == (1, 0) else npy.read_array_header_2_0
        shape, _, dtype = read(file)
        member = Member(path, info.filename.removesuffix(".npy"), info, shape, dtype, file.tell())
    if dtype.hasobject:
        raise member.wrong(
            "Python objects are not read, for they could run code. Save numbers as dtype uint8 and names as dtype str."
        )
    if dtype.kind not in "buifSU":
        raise member.wrong(f"numbers or strings are wanted; got {dtype}. {SAVE_AGAIN}.")
    if min(shape, default=0) < 1:
        raise member.wrong(f"at least one row is wanted; got the shape {list(shape)}. {SAVE_AGAIN}.")
    return member


def array_of(archive: zipfile.ZipFile, member: Member) -> NDArray[Any]:
    """The array itself.

    Raises: FmnistError where it is damaged.
    """
    length = member.begin + member.size * member.dtype.itemsize
    if length != member.info.file_size:
        raise member.wrong(f"its header announces {length:,} bytes; it has {member.info.file_size:,}. {SAVE_AGAIN}.")
    with damage_named(member.path), archive.open(member.info) as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        array = npy.read_array(file, allow_pickle=False)
        file.read(1)  # only at its end is the checksum compared
    return np.asarray(array)
