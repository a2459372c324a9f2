"""Pictures in one folder for each class -> rows, in the same order on every platform."""

import hashlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fmnist.data.images import SIDE
from fmnist.data.pictures import grey_picture, resized
from fmnist.data.raw import Raw
from fmnist.errors import FmnistError
from fmnist.memory import require_memory

EXTENSIONS = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff")
_LEFT_BEHIND = ("__macosx", "thumbs.db")  # by operating systems, besides hidden files
_LAYOUT = "Wanted: one folder for each class with its pictures, such as Shirt/1.png and Bag/1.png"
_DIGITS = re.compile("([0-9]+)")
_ROW = 2 * SIDE * SIDE + 1024  # bytes of one picture twice, while unreadable ones are taken out, and of its path and label


class _File(NamedTuple):
    name: str  # relative to the folder that was walked, with "/"
    entry: os.DirEntry[str]

    @property
    def is_picture(self) -> bool:
        return self.name.lower().endswith(EXTENSIONS)


def read_folder(folder: Path, *, skip_unreadable: bool) -> Raw:
    """One split's pictures in 28 x 28, each labelled with the name of its class folder.

    They are ordered by what follows the class in their path, numbers by value: pictures that are numbered over all classes, as those
    of a data set that was saved in this form, come in that order.
    With `skip_unreadable`, files that are no readable pictures are left out and listed in the result.
    Raises: FmnistError where a folder or a picture cannot be read, or the pictures are not in class folders.
    """
    classes = _class_folders(folder)
    files = sorted((file for name in classes for file in _walk(folder, f"{name}/", _identities(folder))), key=_by_number)
    if not any(file.is_picture for file in files):
        raise FmnistError(f"{folder} must hold pictures; no {_listed(classes)} has one. {_LAYOUT} ({', '.join(EXTENSIONS)}).")
    require_memory(len(files) * _ROW, f"{folder} ({len(files):,} files)")
    return _read(folder, files, classes, skip_unreadable)


def fingerprint_folder(folder: Path) -> str:
    """The SHA-256, in hex, of path, size and time of change of every file below, and of every folder's path.

    It changes where a file does, is the same after a copy that keeps times, and takes no file's content.
    Raises: FmnistError where a folder cannot be read.
    """
    seen = _identities(folder) - {_identity(folder)}
    digest = hashlib.sha256()
    for name, entry in _sorted(_walk(folder, "", seen, also_folders=True)):
        digest.update(f"{name}\0".encode())
        if not name.endswith("/"):
            state = _state(entry)
            digest.update(f"{state.st_size}\0{state.st_mtime_ns}\0".encode())
    return digest.hexdigest()


def _read(folder: Path, files: list[_File], classes: tuple[str, ...], skip_unreadable: bool) -> Raw:
    pixels = np.zeros((len(files), SIDE, SIDE), np.uint8)
    names: list[str] = []
    unreadable: list[str] = []
    is_resized = False
    for file in files:
        try:
            grey = _grey(folder, file)
        except FmnistError as error:
            if not skip_unreadable:
                raise FmnistError(f"{error} Or leave out what is unreadable, with --skip-unreadable.") from error
            unreadable.append(file.name)
            continue
        pixels[len(names)] = resized(grey)
        is_resized |= grey.shape != (SIDE, SIDE)
        names.append(file.name)
    if not names:
        raise FmnistError(
            f"{folder} must hold readable pictures; none of {len(files):,} files is one, such as {files[0].name}. Save them again."
        )
    labels = np.array([name.partition("/")[0].strip() for name in names])
    declared = tuple(dict.fromkeys(name.strip() for name in classes))
    kept = pixels[: len(names)]
    return Raw(kept, labels, names=tuple(names), classes=declared, unreadable=tuple(unreadable), is_resized=is_resized)


def _grey(folder: Path, file: _File) -> NDArray[np.uint8]:
    if not file.is_picture:
        raise FmnistError(f"A class folder holds pictures only ({', '.join(EXTENSIONS)}); {folder / file.name} is none. Move it away.")
    return grey_picture(folder / file.name)


def _class_folders(folder: Path) -> tuple[str, ...]:
    entries = _entries(folder)
    classes = tuple(entry.name for entry in entries if _is_folder(entry))
    loose = [entry.name for entry in entries if not _is_folder(entry) and entry.name.lower().endswith(EXTENSIONS)]
    if loose:
        raise FmnistError(
            f"A picture's folder says its class; {folder} holds {len(loose):,} in no class folder, such as {loose[0]}. {_LAYOUT}."
        )
    if not classes:
        found = f"{len(entries):,} files, such as {entries[0].name}" if entries else "nothing"
        raise FmnistError(f"{folder} must hold a folder for each class; it holds {found}. {_LAYOUT}.")
    return classes


def _listed(classes: tuple[str, ...]) -> str:
    more = f" and {len(classes) - 5:,} more" if len(classes) > 5 else ""
    return f"folder of {', '.join(classes[:5])}{more}"


def _walk(root: Path, start: str, seen: set[tuple[int, int]], *, also_folders: bool = False) -> Iterator[_File]:
    """Every file below `root`/`start`; a folder in `seen`, or that a link leads to once more, is not entered."""
    waiting = [start]
    while waiting:
        prefix = waiting.pop()
        if (identity := _identity(root / prefix)) in seen:
            continue
        seen.add(identity)
        for entry in _entries(root / prefix):
            is_folder = _is_folder(entry)
            name = f"{prefix}{entry.name}/" if is_folder else f"{prefix}{entry.name}"
            if is_folder:
                waiting.append(name)
            if also_folders or not is_folder:
                yield _File(name, entry)


def _sorted(files: Iterator[_File]) -> list[_File]:
    return sorted(files, key=lambda file: file.name.encode())


def _by_number(file: _File) -> tuple[list[bytes | int], bytes]:
    """Where a picture comes: "9.png" before "10.png", of the same name in two classes the one whose class comes first."""
    in_class, path = file.name.split("/", 1)
    parts = _DIGITS.split(path)  # words and numbers in turn
    return [int(part) if i % 2 else part.encode() for i, part in enumerate(parts)], in_class.encode()


def _entries(path: Path) -> list[os.DirEntry[str]]:
    """What the folder holds, but for hidden files and what operating systems leave behind, sorted by name."""
    try:
        with os.scandir(path) as found:
            entries = [entry for entry in found if not (entry.name.startswith(".") or entry.name.lower() in _LEFT_BEHIND)]
        return sorted(entries, key=lambda entry: entry.name.encode())
    except OSError as error:
        raise FmnistError(f"{path} must be a folder that can be read: {error.strerror}. Check its path and permissions.") from error
    except UnicodeEncodeError as error:
        raise FmnistError(f"Names of files must be in UTF-8; {path} holds {os.fsencode(error.object)!r}. Rename it.") from error


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself
        return False


def _identity(path: Path) -> tuple[int, int]:
    try:
        state = path.stat()
    except OSError as error:
        raise FmnistError(f"{path} must be a folder that can be read: {error.strerror}. Check its path and permissions.") from error
    return state.st_dev, state.st_ino


def _identities(folder: Path) -> set[tuple[int, int]]:
    """The folder itself and all that it lies in: a link to one of them would lead round in a circle."""
    return {_identity(path) for path in (folder, *folder.resolve().parents)}


def _state(entry: os.DirEntry[str]) -> os.stat_result:
    try:
        return entry.stat()
    except OSError:  # a link that leads nowhere
        return entry.stat(follow_symlinks=False)
