"""Folders and files that are whole or not there, whenever the process is killed."""

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def folder_in_place(target: Path) -> Iterator[Path]:
    """An empty folder beside `target` that takes its place when the block ends; when the block fails, `target` is as it
    was.

    At no moment does `target` hold files of both, or a part of them.
    """
    target = target.resolve()
    target.parent.mkdir(parents=True, exist_ok=True)
    token = secrets.token_hex(4)  # two processes may write the same folder
    fresh, old = (target.with_name(f".{target.name}.{token}.{kind}") for kind in ("new", "old"))
    fresh.mkdir()
    try:
        yield fresh
        _flush(fresh)
        if target.exists():
            target.replace(old)
        fresh.replace(target)
    finally:
        if old.exists() and not target.exists():  # interrupted between the two renames
            old.replace(target)
        for left in (fresh, old):
            shutil.rmtree(left, ignore_errors=True)


def write_in_place(target: Path, data: bytes) -> None:
    """`target` holds `data`, and so does the disk; killed in between, it is as it was. Folders above it are made.

    A device or a pipe is written to and stays what it is.
    Raises: OSError, also where `target` is a folder.
    """
    target = target.resolve()
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists() and not target.is_file():
        target.write_bytes(data)  # of a folder this raises IsADirectoryError
        return
    fresh = target.with_name(f".{target.name}.{secrets.token_hex(4)}.new")
    try:
        with fresh.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(target)
    finally:
        fresh.unlink(missing_ok=True)


def _flush(folder: Path) -> None:
    """What `folder` holds is on the disk, so that a power cut after the rename cannot leave empty files under the final
    name.
    """
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb+") as file:
                os.fsync(file.fileno())
