"""The user's cache folder: downloads, and what was made of data files once, kept by what is in them."""

import hashlib
import json
from collections.abc import Callable
from functools import cache
from pathlib import Path

import filelock
from platformdirs import user_cache_path

from fmnist.atomic import folder_in_place


def cache_folder() -> Path:
    """The user's folder for downloads and for what was read and cleaned. It may be deleted at any time but during a run."""
    return user_cache_path("fmnist-search")


def kept(kind: str, key: str, make: Callable[[Path], None]) -> Path:
    """The cache's folder of that kind and key; if it was not there, `make` has filled it. Of two processes, one makes it."""
    folder = cache_folder().resolve() / kind / digest(key, _code())
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(folder.with_suffix(".lock")):
            if not folder.exists():
                with folder_in_place(folder) as fresh:
                    make(fresh)
    return folder


def digest(*parts: object) -> str:
    """A name for these parts, which JSON must be able to hold: the same for the same parts."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


def file_digest(path: Path) -> str:
    """The SHA-256 of the file's content, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@cache
def _code() -> str:
    """A digest of the code that reads and cleans: what another version made is not taken for this one's work."""
    modules = sorted(Path(__file__).parent.glob("*.py"))
    return digest(*(module.read_text(encoding="utf-8") for module in modules))
