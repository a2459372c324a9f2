"""The official Fashion-MNIST files: their names, their MD5, and where they are below a folder."""

import gzip
import hashlib
import zlib
from pathlib import Path
from typing import NamedTuple

FASHION_MNIST = "Fashion-MNIST"  # the name of this data set only


class OfficialFile(NamedTuple):
    """One of the four files and its MD5, unpacked and as `.gz`."""

    name: str
    md5: str
    gz_md5: str


OFFICIAL = (
    OfficialFile("train-images-idx3-ubyte", "f4a8712d7a061bf5bd6d2ca38dc4d50a", "8d4fb7e6c68d591d4c3dfef9ec88bf0d"),
    OfficialFile("train-labels-idx1-ubyte", "9018921c3c673c538a1fc5bad174d6f9", "25c81989df183df01b3e8a0aad5dffbe"),
    OfficialFile("t10k-images-idx3-ubyte", "8181f5470baa50b63fa0f6fddb340f0a", "bef4ecab320f06d8554ea6380940ec79"),
    OfficialFile("t10k-labels-idx1-ubyte", "15d484375f8d13e6eb1aabb0c3f46965", "bb300cfdad3c16e7a12a480ee83cd310"),
)


def raw_folder(root: Path) -> Path | None:
    """Return the folder below `root` with files of these names, torchvision's layout first, or None."""
    for folder in (root / "FashionMNIST" / "raw", root / "raw", root):
        if any(_present(folder, file) for file in OFFICIAL):
            return folder
    return None


def missing_files(root: Path) -> list[str]:
    """Return the names, as `.gz`, of the files that `root` has neither packed nor unpacked."""
    raw = raw_folder(root)
    return [f"{file.name}.gz" for file in OFFICIAL if raw is None or not _present(raw, file)]


def idx_files(raw: Path) -> list[Path]:
    """Return the paths of the four files in `raw`, in the order of OFFICIAL; an unpacked file is preferred."""
    paths = [_present(raw, file) for file in OFFICIAL]
    return [path for path in paths if path]


def unofficial(files: list[Path]) -> list[Path]:
    """Return those of the four files whose content is not official, by MD5; how they are packed does not matter."""
    return [path for path, file in zip(files, OFFICIAL, strict=True) if not _is_official(path, file)]


def _present(raw: Path, file: OfficialFile) -> Path | None:
    return next((path for path in (raw / file.name, raw / f"{file.name}.gz") if path.is_file()), None)


def _is_official(path: Path, file: OfficialFile) -> bool:
    content = path.read_bytes()
    if _md5(content) in {file.md5, file.gz_md5}:
        return True
    try:
        return path.suffix == ".gz" and _md5(gzip.decompress(content)) == file.md5
    except (OSError, EOFError, zlib.error):
        return False


def _md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()
