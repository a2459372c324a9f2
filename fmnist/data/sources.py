"""Where the images come from: the official Fashion-MNIST files, found or downloaded, or images drawn by code.

One rule decides what may be called Fashion-MNIST: each of the four files has the official MD5. Whatever differs, in one byte or in
the number of images, is an error and never a data set of another name. The MD5 is checked where the files are found, once a run; a
worker that loads them afterwards maps the unpacked files into memory, so that all workers share one copy.
"""

import gzip
import hashlib
import math
import os
import shutil
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from http.client import HTTPException
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from platformdirs import user_cache_path

from fmnist.data import synthetic
from fmnist.data.images import Images
from fmnist.errors import FmnistError

FASHION_MNIST = "Fashion-MNIST"
SYNTHETIC = "synthetic"
TIMEOUT = 15.0  # seconds without a byte, then the download has failed


class OfficialFile(NamedTuple):
    """One of the four files, unpacked or as `.gz`, and the MD5 that it must have."""

    name: str
    md5: str
    gz_md5: str


OFFICIAL = (
    OfficialFile("train-images-idx3-ubyte", "f4a8712d7a061bf5bd6d2ca38dc4d50a", "8d4fb7e6c68d591d4c3dfef9ec88bf0d"),
    OfficialFile("train-labels-idx1-ubyte", "9018921c3c673c538a1fc5bad174d6f9", "25c81989df183df01b3e8a0aad5dffbe"),
    OfficialFile("t10k-images-idx3-ubyte", "8181f5470baa50b63fa0f6fddb340f0a", "bef4ecab320f06d8554ea6380940ec79"),
    OfficialFile("t10k-labels-idx1-ubyte", "15d484375f8d13e6eb1aabb0c3f46965", "bb300cfdad3c16e7a12a480ee83cd310"),
)


@dataclass(frozen=True)
class Source:
    """A place that images can be loaded from: small, so that it travels to worker processes in their stead."""

    name: str
    root: Path | None  # the folder of the four unpacked files; None for synthetic images

    @property
    def is_synthetic(self) -> bool:
        """True where the images are drawn by code."""
        return self.root is None

    def train(self) -> Images:
        """All images that may be trained on."""
        return synthetic.train() if self.root is None else _load(self.root, "train")

    def test(self) -> Images:
        """The test images. Only `fmnist.data.splits` may call this."""
        return synthetic.test() if self.root is None else _load(self.root, "t10k")


def fingerprint(images: Images) -> str:
    """The SHA-256, in hex, of pixels, labels and class names: the same for the same images, on every platform."""
    digest = hashlib.sha256("\0".join(images.class_names).encode())
    digest.update(np.ascontiguousarray(images.labels, dtype="<i8").data)
    digest.update(np.ascontiguousarray(images.pixels).data)
    return digest.hexdigest()


def find_source(data: str | None, *, or_synthetic: bool = False, announce: Callable[[str], None]) -> Source:
    """The source that was asked for, verified, unpacked and announced in one line.

    Looks in `data` (a folder, or the word "synthetic"), else $FMNIST_DATA, else ./data, the user's cache folder, and the network.
    With `or_synthetic`, images drawn by code stand in where all of the last three fail; for a folder that was named, nothing does.

    Raises: FmnistError where a folder that was named lacks the files, files are not the official ones, or there are none to be had.
    """
    option, place = ("--data", data) if data is not None else ("$FMNIST_DATA", os.environ.get("FMNIST_DATA") or None)
    if place == SYNTHETIC:
        announce(f"Data: synthetic images, drawn by code ({option}).")
        return Source(SYNTHETIC, None)
    try:
        found = _where(option, place)
        return _downloaded(or_synthetic, announce) if found is None else _open(*found, announce)
    except OSError as error:
        raise FmnistError(
            f"Fashion-MNIST's files must be readable, and {cache_folder()} writable for unpacking them: {error}. "
            "Change the permissions, name another folder with --data, or another cache with XDG_CACHE_HOME."
        ) from error


def cache_folder() -> Path:
    """The user's folder for downloaded and unpacked files; itself laid out as a data folder."""
    return user_cache_path("fmnist-search")


def _where(option: str, place: str | None) -> tuple[Path, str] | None:
    """The folder to open and who asked for it: the one that was named, or the first that holds the data; None for the network."""
    if place is not None:
        # Not Path.expanduser: that one raises where the user in "~user" is unknown.
        return Path(os.path.expanduser(place)), option  # noqa: PTH111
    if _raw_folder(Path("data")) is not None:
        return Path("data"), "./data"
    # Of the cache, only what is complete counts: an earlier run may have been stopped while it unpacked.
    return None if _lacking(cache_folder()) else (cache_folder(), "the cache folder")


def _raw_folder(root: Path) -> Path | None:
    """Where under `root` the files lie, torchvision's layout first; None where there is not one of them."""
    for folder in (root / "FashionMNIST" / "raw", root / "raw", root):
        if any((folder / name).is_file() for file in OFFICIAL for name in (file.name, f"{file.name}.gz")):
            return folder
    return None


def _is_unpacked(raw: Path) -> bool:
    return all((raw / file.name).is_file() for file in OFFICIAL)


def _lacking(root: Path) -> list[str]:
    """The packed files that `root` would need; none where all four are there, packed or unpacked."""
    packed = [f"{file.name}.gz" for file in OFFICIAL]
    raw = _raw_folder(root)
    if raw is None:
        return packed
    return [] if _is_unpacked(raw) else [name for name in packed if not (raw / name).is_file()]


def _open(root: Path, asked_by: str, announce: Callable[[str], None]) -> Source:
    """The files under `root` as a source, after their MD5 was checked and what was packed is unpacked in the cache folder."""
    raw, lacking = _raw_folder(root), _lacking(root)
    if raw is None or lacking:
        raise FmnistError(_not_held(root, asked_by, lacking))
    raw = raw.resolve()
    if _is_unpacked(raw):
        source = Source(FASHION_MNIST, _checked(raw))
        announce(f"Data: Fashion-MNIST, in {raw}.")
        return source
    unpacked = _unpacked(raw)
    announce(f"Data: Fashion-MNIST, in {raw}, unpacked in {unpacked}.")
    return Source(FASHION_MNIST, unpacked)


def _checked(raw: Path) -> Path:
    for file in OFFICIAL:
        _require_md5(raw / file.name, file.md5)
    return raw


def _unpacked(raw: Path) -> Path:
    """The folder in the cache that holds the content of the four `.gz` of `raw`."""
    folder = cache_folder().resolve() / "FashionMNIST" / "raw"
    folder.mkdir(parents=True, exist_ok=True)
    for file in OFFICIAL:
        packed, target = raw / f"{file.name}.gz", folder / file.name
        _require_md5(packed, file.gz_md5)
        if not (target.is_file() and _md5(target) == file.md5):
            _unpack(packed, target)
    return _checked(folder)


def _unpack(packed: Path, target: Path) -> None:
    # Into a folder of its own first: of two processes that unpack at once, each replaces the target by a whole file.
    with TemporaryDirectory(dir=target.parent, prefix="unpacking-") as scratch:
        whole = Path(scratch) / target.name
        with gzip.open(packed) as source, whole.open("wb") as sink:
            shutil.copyfileobj(source, sink, 1 << 20)
        whole.replace(target)


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _require_md5(path: Path, expected: str) -> None:
    if (received := _md5(path)) != expected:
        raise FmnistError(
            f"{path} must be the official Fashion-MNIST file, with MD5 {expected}; got {received} ({path.stat().st_size:,} bytes). "
            "It is damaged, cut short or of another data set: replace it, or delete it and let it be downloaded."
        )


def _not_held(root: Path, asked_by: str, lacking: list[str]) -> str:
    if root.is_dir():
        state = "holds none of the four files" if len(lacking) == len(OFFICIAL) else f"lacks {', '.join(lacking)}"
    else:
        state = "is a file" if root.exists() else "does not exist"
    hint = "Did you mean 'synthetic'? " if get_close_matches(str(root), [SYNTHETIC]) else ""
    return (
        f"{asked_by} must be a folder that holds Fashion-MNIST; {root} {state}. {hint}"
        f"{_put_into(root)}, or use images drawn by code: --data {SYNTHETIC}."
    )


def _put_into(root: Path) -> str:
    names = ", ".join(f"{file.name}.gz" for file in OFFICIAL)
    return f"Put the four files ({names}) into {root / 'FashionMNIST' / 'raw'}"


def _downloaded(or_synthetic: bool, announce: Callable[[str], None]) -> Source:
    announce(f"Data: Fashion-MNIST is not on this machine yet; downloading it (30 MB) into {cache_folder()}.")
    try:
        source = _download()
    except (OSError, RuntimeError, HTTPException) as error:  # all that urllib and torchvision raise for a failed download
        reason = " ".join(str(error).split())
        if or_synthetic:
            announce(f"Data: SYNTHETIC IMAGES, NOT FASHION-MNIST. No files found and no download ({reason}): scores say nothing about it.")
            return Source(SYNTHETIC, None)
        raise FmnistError(
            f"Fashion-MNIST is needed; it is neither in {Path('data').resolve()} nor in {cache_folder()}, "
            f"and the download failed ({reason}). {_put_into(Path('data'))}, name another folder with --data or $FMNIST_DATA, "
            f"or use images drawn by code: --data {SYNTHETIC}."
        ) from error
    announce(f"Data: Fashion-MNIST, downloaded into {source.root}.")
    return source


def _download() -> Source:
    from torchvision.datasets import FashionMNIST  # seconds to import, and needed only here

    cache_folder().mkdir(parents=True, exist_ok=True)
    # Torchvision does not write its files in one step: what an interrupted download leaves behind must not be found as data.
    with TemporaryDirectory(dir=cache_folder(), prefix="download-") as scratch, _socket_timeout(TIMEOUT):
        FashionMNIST(scratch, download=True)
        return Source(FASHION_MNIST, _unpacked(Path(scratch) / "FashionMNIST" / "raw"))


@contextmanager
def _socket_timeout(seconds: float) -> Iterator[None]:
    """Inside, a connection that says nothing for `seconds` fails; urllib's default is to wait for ever."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _load(raw: Path, split: str) -> Images:
    pixels = _read_idx(raw / f"{split}-images-idx3-ubyte", dimensions=3)
    labels = _read_idx(raw / f"{split}-labels-idx1-ubyte", dimensions=1).astype(np.int64)
    if pixels.shape != (len(labels), 28, 28):
        raise FmnistError(f"{raw} must hold one 28 x 28 image a label; {split} has {pixels.shape} and {len(labels):,} labels. {_AGAIN}")
    if labels.max() >= len(synthetic.CLASS_NAMES):
        raise FmnistError(f"Labels must be 0 to 9; {split} in {raw} has {labels.max()}. {_AGAIN}")
    return Images(pixels, labels, synthetic.CLASS_NAMES)


_AGAIN = "Delete the file and start again."


def _read_idx(path: Path, dimensions: int) -> NDArray[np.uint8]:
    """The bytes of an idx file, mapped: shared between processes until one writes to its own copy.

    Raises: FmnistError where the header is not that of uint8 data of so many dimensions, or the file is not as long as it says.
    """
    try:
        with path.open("rb") as file:
            header = file.read(4 + 4 * dimensions)
            size = file.seek(0, os.SEEK_END)
    except OSError as error:
        raise FmnistError(f"{path} must be readable: {error.strerror}. Start again, to have it unpacked again.") from error
    magic = 0x0800 + dimensions  # 08 for uint8
    if len(header) < 4 + 4 * dimensions or int.from_bytes(header[:4]) != magic:
        raise FmnistError(f"{path} must begin with the magic number {magic:#010x}; got 0x{header[:4].hex()} in {size:,} bytes. {_AGAIN}")
    shape = struct.unpack(f">{dimensions}I", header[4:])
    if size != len(header) + math.prod(shape) or size == len(header):
        raise FmnistError(f"{path} says it holds {shape} bytes after its header; it holds {size - len(header):,}. {_AGAIN}")
    return np.asarray(np.memmap(path, np.uint8, mode="c", offset=len(header), shape=shape))
