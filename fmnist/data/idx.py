"""The idx format of MNIST and Fashion-MNIST: one file of images and one of labels, packed by gzip or not."""

import gzip
import math
import os
import struct
import zlib
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from fmnist.data.raw import Raw
from fmnist.errors import FmnistError
from fmnist.memory import require_memory

_GZIP = b"\x1f\x8b"
_MAGIC = {3: 0x0803, 1: 0x0801}  # by dimensions; 08 stands for uint8
_HOLDS = {3: "images", 1: "labels"}
_AGAIN = "Download or write the file again."


def read_idx(images: Path, labels: Path) -> Raw:
    """Read an idx file of images and the idx file of their labels; files that are not packed are mapped.

    Raises: FmnistError naming the file if one is missing, damaged, of another format, or not as long as its header
    says.
    Source: LeCun et al., "The MNIST database of handwritten digits", 1998, "File formats".
    """
    pixels, codes = _read(images, 3), _read(labels, 1)
    if len(pixels) != len(codes):
        raise FmnistError(
            f"Every image needs a label; {images} holds {len(pixels):,} images and {labels} {len(codes):,} labels. "
            "Name two files of the same split."
        )
    return Raw(pixels, codes.astype(np.str_))


def _read(path: Path, dimensions: int) -> NDArray[np.uint8]:
    """Return the array in the file; if mapped, processes share it until one writes to its own copy."""
    if not path.is_file():
        state = "is a folder" if path.is_dir() else "does not exist"
        raise FmnistError(f"The {_HOLDS[dimensions]} must be in a file; {path} {state}. Check the path.")
    try:
        with path.open("rb") as file:
            if file.read(2) == _GZIP:
                file.seek(0)
                return _unpacked(path, file, dimensions)
            return _mapped(path, file, dimensions)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise FmnistError(f"{path} must be a complete gzip file with a valid checksum: {error}. {_AGAIN}") from error
    except OSError as error:
        raise FmnistError(
            f"{path} must be readable: {error.strerror}. Change its permissions, or name another file."
        ) from error


def _mapped(path: Path, file: IO[bytes], dimensions: int) -> NDArray[np.uint8]:
    file.seek(0)
    shape = _shape(path, file, dimensions)
    begin, end = file.tell(), file.seek(0, os.SEEK_END)
    _require_length(path, shape, f"{end - begin:,}", end - begin == math.prod(shape))
    return np.asarray(np.memmap(path, np.uint8, mode="c", offset=begin, shape=shape))


def _unpacked(path: Path, packed: IO[bytes], dimensions: int) -> NDArray[np.uint8]:
    with gzip.open(packed) as file:
        shape = _shape(path, file, dimensions)
        size = math.prod(shape)
        require_memory(2 * size, str(path))  # the bytes read, and a writable copy
        content = file.read(size + 1)  # one byte more shows a file that is too long without unpacking all of it
    _require_length(path, shape, "more" if len(content) > size else f"{len(content):,}", len(content) == size)
    return np.frombuffer(content, np.uint8).reshape(shape).copy()


def _shape(path: Path, file: IO[bytes] | gzip.GzipFile, dimensions: int) -> tuple[int, ...]:
    """Read the header and return the shape; the file is then at the first byte of the array."""
    length = 4 + 4 * dimensions
    header = file.read(length)
    _require_magic(path, header[:4], dimensions)
    if len(header) < length:
        raise FmnistError(
            f"{path} must begin with a header of {length} bytes; it has {len(header)} bytes in all. {_AGAIN}"
        )
    shape = struct.unpack(f">{dimensions}I", header[4:])
    if 0 in shape:
        raise FmnistError(
            f"{path} must hold at least one of its {_HOLDS[dimensions]}; its header says {_sides(shape)}. {_AGAIN}"
        )
    return shape


def _require_magic(path: Path, received: bytes, dimensions: int) -> None:
    expected = _MAGIC[dimensions].to_bytes(4)
    if received == expected:
        return
    # The most likely mistake is to swap the two files.
    other = next((_HOLDS[count] for count, magic in _MAGIC.items() if received == magic.to_bytes(4)), None)
    hint = (
        f"That is a file of {other}: are the files of images and labels swapped?"
        if other
        else "Name an idx file of unsigned bytes."
    )
    raise FmnistError(
        f"{path} must begin with the magic number 0x{expected.hex()}, of {_HOLDS[dimensions]} in idx format; got "
        f"0x{received.hex()}. {hint}"
    )


def _require_length(path: Path, shape: tuple[int, ...], received: str, is_exact: bool) -> None:
    if not is_exact:
        raise FmnistError(
            f"{path} must hold the {math.prod(shape):,} bytes ({_sides(shape)}) that its header announces; it holds "
            f"{received}. {_AGAIN}"
        )


def _sides(shape: tuple[int, ...]) -> str:
    return " x ".join(f"{side:,}" for side in shape)
