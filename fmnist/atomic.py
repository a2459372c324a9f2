"""Atomic writes of folders and files. What a killed process leaves is hidden, and `remove_unfinished` removes it."""

import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_UNFINISHED = re.compile(r"\.(.+)\.[0-9a-f]{8}\.(new|old)")


@contextmanager
def folder_in_place(target: Path) -> Iterator[Path]:
    """Yield an empty folder that replaces `target` at the end of the block; if the block fails, `target` is unchanged.

    `target` never holds a mixture of old and new files, or only a part of them.
    """
    target = target.resolve()
    target.parent.mkdir(parents=True, exist_ok=True)
    token = secrets.token_hex(4)  # two processes may write the same folder
    new, old = (target.with_name(f".{target.name}.{token}.{kind}") for kind in ("new", "old"))
    new.mkdir()
    try:
        yield new
        _flush(new)
        if target.exists():
            target.replace(old)
        new.replace(target)
    finally:
        if old.exists() and not target.exists():  # interrupted between the two renames
            old.replace(target)
        for folder in (new, old):
            shutil.rmtree(folder, ignore_errors=True)


def write_in_place(target: Path, data: bytes) -> None:
    """Write `data` to `target` atomically and flush it to the disk. Creates missing parent folders.

    A device or a pipe is written to directly.
    Raises: OSError, also if `target` is a folder.
    """
    target = target.resolve()
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists() and not target.is_file():
        target.write_bytes(data)  # raises IsADirectoryError for a folder
        return
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.new")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def remove_unfinished(folder: Path, of: str = "") -> None:
    """Remove what writers that were killed left beside their targets in the folder, where nobody writes now.

    A folder whose replacement was interrupted has its name again. `of`: the name of a target; of all, if "".
    """
    for path in folder.glob(f".{of or '*'}.*"):
        if (match := _UNFINISHED.fullmatch(path.name)) is None:
            continue
        name, kind = match.groups()
        if kind == "old" and not path.with_name(name).exists():
            path.rename(path.with_name(name))
        elif path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _flush(folder: Path) -> None:
    """Flush the files to the disk, so that a power failure after the rename cannot leave empty files."""
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb+") as file:
                os.fsync(file.fileno())
