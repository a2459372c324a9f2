"""The user's cache folder: downloads, and data read and cleaned once, keyed by the content of their files."""

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

from fmnist.atomic import folder_in_place, remove_unfinished

# Another version of these may read the same files as other images.
DECODERS = ("numpy", "pillow", "pyarrow", "scikit-learn")
CODECS = ("jpg", "jpg_2000", "libtiff", "webp", "zlib")  # libraries that Pillow was built with
_THREADS, _FILES_A_CALL = 8, 500  # several reads in flight hide the latency of a slow drive


def cache_folder() -> Path:
    """Return the user's cache folder for downloads and cleaned data; delete it only when nothing runs."""
    return user_cache_path("fmnist-search")


def cached_folder(kind: str, key: str, make: Callable[[Path], None]) -> Path:
    """Return the cache's folder of that kind and key, filled by `make` if absent; only one process fills it."""
    folder = cache_folder().resolve() / kind / digest(key, _code())
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(folder.with_suffix(".lock")):
            if not folder.exists():
                remove_unfinished(folder.parent, folder.name)  # as large as the data
                with folder_in_place(folder) as fresh:
                    make(fresh)
    return folder


def digest(*parts: object) -> str:
    """Return a name for these JSON-serializable parts, the same for equal parts."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


def file_digest(path: Path) -> str:
    """Return the SHA-256 of the file's content, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def file_digests(paths: Sequence[Path]) -> list[str]:
    """Return the digest of each file, or for a file that cannot be read the reason."""
    chunks = [paths[start : start + _FILES_A_CALL] for start in range(0, len(paths), _FILES_A_CALL)]
    with ThreadPoolExecutor(_THREADS) as pool:
        return [digest for digests in pool.map(_digests, chunks) for digest in digests]


def _digests(paths: Sequence[Path]) -> list[str]:
    return [_digest_or_reason(path) for path in paths]


def _digest_or_reason(path: Path) -> str:
    try:
        return file_digest(path) if path.is_file() else "no file"  # opening a pipe would block
    except OSError as error:
        return f"error {error.errno}"


@cache
def _code() -> str:
    """Return a digest of this package's code, without comments, and its libraries: changes invalidate the cache."""
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
