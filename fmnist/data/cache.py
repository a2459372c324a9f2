"""The user's cache folder: downloads, and what was made of data files once, kept by what is in them."""

import ast
import hashlib
import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import filelock
from platformdirs import user_cache_path

from fmnist.atomic import folder_in_place

DECODERS = (
    "numpy",
    "pillow",
    "pyarrow",
    "scikit-learn",
)  # another version of these may make other images of the same files
CODECS = ("jpg", "jpg_2000", "libtiff", "webp", "zlib")  # that Pillow was built with
_THREADS, _FILES_A_CALL = 8, 500  # so that a slow drive is asked for several files at once


def cache_folder() -> Path:
    """The user's folder for downloads and for what was read and cleaned. It may be deleted at any time but during a
    run.
    """
    return user_cache_path("fmnist-search")


def kept(kind: str, key: str, make: Callable[[Path], None]) -> Path:
    """The cache's folder of that kind and key; if it was not there, `make` has filled it. Of two processes, one makes
    it.
    """
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


def file_digests(paths: Sequence[Path]) -> list[str]:
    """That of each file; of what cannot be read, why."""
    parts = [paths[start : start + _FILES_A_CALL] for start in range(0, len(paths), _FILES_A_CALL)]
    with ThreadPoolExecutor(_THREADS) as pool:
        return [found for part in pool.map(_digests, parts) for found in part]


def _digests(paths: Sequence[Path]) -> list[str]:
    return [_digest_or_reason(path) for path in paths]


def _digest_or_reason(path: Path) -> str:
    try:
        return file_digest(path) if path.is_file() else "no file"  # a pipe would be waited for
    except OSError as error:
        return f"error {error.errno}"


@cache
def _code() -> str:
    """A digest of what reads and cleans, without its comments: what other code or libraries made is not taken for this
    one's work.
    """
    modules = [ast.parse(module.read_text(encoding="utf-8")) for module in sorted(Path(__file__).parent.glob("*.py"))]
    for node in (node for module in modules for node in ast.walk(module)):
        if (
            isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
            and ast.get_docstring(node, clean=False) is not None
        ):
            node.body[0] = ast.Pass()
    return digest([ast.dump(module) for module in modules], _libraries())


def _libraries() -> dict[str, str | None]:
    from PIL import features

    return {name: _version(name) for name in DECODERS} | {name: features.version(name) for name in CODECS}


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
