"""Pictures in one folder for each class -> rows, in the same order on every platform."""

import hashlib
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fmnist.data.cache import file_digests
from fmnist.data.images import SIDE
from fmnist.data.layout import Layout, find_layout, require_outermost, split_of
from fmnist.data.leftovers import files_of, is_leftover
from fmnist.data.pictures import grey_picture
from fmnist.data.preparation import Preparation, as_image
from fmnist.data.raw import Raw
from fmnist.data.scale import Scale
from fmnist.errors import FmnistError
from fmnist.memory import require_memory

EXTENSIONS = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff")
_LAYOUT = "Wanted: one folder for each class with its pictures, such as Shirt/1.png and Bag/1.png"
_DIGITS = re.compile("([0-9]+)")
_ROW = (
    2 * SIDE * SIDE + 1024
)  # bytes of one picture twice, while unreadable ones are taken out, and of its path and label


class _File(NamedTuple):
    name: str  # relative to the folder that was walked, with "/"
    entry: os.DirEntry[str]
    is_leftover: bool = False

    @property
    def is_picture(self) -> bool:
        return not self.is_leftover and self.name.lower().endswith(EXTENSIONS)


def read_folder(folder: Path, *, skip_unreadable: bool, wanted: Preparation | None = None) -> Raw:
    """One split's pictures as images, prepared as `wanted`, each labelled with the name of its class folder.


    They are ordered by what follows the class in their path, numbers by value: pictures that are numbered over all
    classes, as those of a data set that was saved in this form, come in that order. With `skip_unreadable`, files that
    are no readable pictures are left out and listed in the result. Leftovers of systems and tools are always, and so
    are files beside the class folders.
    Raises: FmnistError where a folder or a picture cannot be read, or the pictures are not in class folders.
    """
    classes = _class_folders(folder)
    walked = [file for name in classes for file in _walk(folder, f"{name}/", _identities(folder))]
    files = sorted((file for file in walked if not file.is_leftover), key=_by_number)
    if not any(file.is_picture for file in files):
        raise FmnistError(
            f"{folder} must hold pictures; no {_listed(classes)} has one. {_LAYOUT} ({', '.join(EXTENSIONS)})."
        )
    require_outermost(str(folder), [file.name for file in files])
    require_memory(len(files) * _ROW, f"{folder} ({len(files):,} files)")
    raw = _read(folder, files, classes, skip_unreadable, wanted or Preparation())
    return left_out(replace(raw, leftovers=_names(file for file in walked if file.is_leftover)), folder, classes)


def layout_of(folder: Path) -> Layout | None:
    """Which folders in `folder` are splits; None where none is.

    Raises: FmnistError where it cannot be read, or has splits and none to train on.
    """
    return find_layout(str(folder), _folders(folder))


def holds_pictures(folder: Path) -> bool:
    """Whether there is a train split with pictures in `folder`, or two other folders with pictures, which are classes
    then.
    """
    names = _folders(folder)
    if any(map(split_of, names)):
        return any(split_of(name) == "train" and _has_picture(folder, name) for name in names)
    return sum(_has_picture(folder, name) for name in names) > 1


def left_out(raw: Raw, folder: Path, taken: Iterable[str], splits: tuple[str, ...] = ()) -> Raw:
    """The same rows; what lies in `folder` but not in its folders called `taken` is listed as not read, pictures in
    `splits` as such.
    """
    inner = {_identity(folder / name) for name in taken}
    files = list(_walk(folder, "", _identities(folder) - {_identity(folder)} | inner))
    starts = tuple(f"{name}/" for name in splits)
    others = [file for file in files if not file.is_leftover]
    of_splits = _names(file for file in others if file.is_picture and file.name.startswith(starts))
    return replace(
        raw,
        leftovers=raw.leftovers + _names(file for file in files if file.is_leftover),
        other_splits=raw.other_splits + of_splits,
        other_files=raw.other_files
        + _names(file for file in others if not (file.is_picture and file.name.startswith(starts))),
    )


def fingerprint_folder(folder: Path) -> str:
    """The SHA-256, in hex, of path and content of every file below, and of every folder's path; of leftovers, of the
    path.

    Raises: FmnistError where a folder cannot be read.
    """
    seen = _identities(folder) - {_identity(folder)}
    names = list(_sorted(_walk(folder, "", seen, also_folders=True)))
    read = [Path(file.entry.path) for file in names if not (file.is_leftover or file.name.endswith("/"))]
    whole = hashlib.sha256()
    for text in (*(file.name for file in names), *file_digests(read)):
        whole.update(f"{text}\0".encode())
    return whole.hexdigest()


def _read(
    folder: Path, files: list[_File], classes: tuple[str, ...], skip_unreadable: bool, wanted: Preparation
) -> Raw:
    pixels = np.zeros((len(files), SIDE, SIDE), np.uint8)
    names: list[str] = []
    unreadable: list[str] = []
    is_resized, scale = False, Scale(wanted.white)
    for file in files:
        try:
            grey = _grey(folder, file, scale)
            pixels[len(names)] = as_image(grey, wanted.form)
        except FmnistError as error:
            if not skip_unreadable:
                raise FmnistError(f"{error} Or leave out what is unreadable, with --skip-unreadable.") from error
            unreadable.append(file.name)
            continue
        is_resized |= grey.shape != (SIDE, SIDE)
        names.append(file.name)
    if not names:
        raise FmnistError(
            f"{folder} must hold readable pictures; none of {len(files):,} files is one, such as {files[0].name}. Save "
            "them again."
        )
    labels = np.array([name.partition("/")[0].strip() for name in names])
    declared = tuple(dict.fromkeys(name.strip() for name in classes))
    found = Raw(pixels[: len(names)], labels, names=tuple(names), classes=declared, unreadable=tuple(unreadable))
    preparation = wanted.model_copy(update={"whites": scale.whites})
    return replace(found, extents=scale.extents, preparation=preparation, is_resized=is_resized)


def _grey(folder: Path, file: _File, scale: Scale) -> NDArray[np.uint8]:
    if not file.is_picture:
        raise FmnistError(
            f"A class folder holds pictures only ({', '.join(EXTENSIONS)}); {folder / file.name} is none. Move it away."
        )
    return grey_picture(folder / file.name, scale)


def _class_folders(folder: Path) -> tuple[str, ...]:
    entries = [entry for entry in _entries(folder) if not is_leftover(entry.name, is_folder=_is_folder(entry))]
    classes = tuple(entry.name for entry in entries if _is_folder(entry))
    loose = [entry.name for entry in entries if not _is_folder(entry) and entry.name.lower().endswith(EXTENSIONS)]
    if loose:
        raise FmnistError(
            f"A picture's folder says its class; {folder} holds {len(loose):,} in no class folder, such as {loose[0]}. "
            f"{_LAYOUT}."
        )
    if not classes:
        found = f"{len(entries):,} files, such as {entries[0].name}" if entries else "nothing"
        raise FmnistError(f"{folder} must hold a folder for each class; it holds {found}. {_LAYOUT}.")
    return classes


def _folders(folder: Path) -> tuple[str, ...]:
    return tuple(
        entry.name for entry in _entries(folder) if _is_folder(entry) and not is_leftover(entry.name, is_folder=True)
    )


def _has_picture(folder: Path, name: str) -> bool:
    return any(file.is_picture for file in _walk(folder, f"{name}/", _identities(folder)))


def _names(files: Iterable[_File]) -> tuple[str, ...]:
    return tuple(sorted(file.name for file in files))


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
            if is_leftover(entry.name, is_folder=_is_folder(entry)):
                yield from (
                    _File(name, entry, is_leftover=True) for name in files_of(Path(entry.path), f"{prefix}{entry.name}")
                )
                continue
            is_folder = _is_folder(entry)
            name = f"{prefix}{entry.name}/" if is_folder else f"{prefix}{entry.name}"
            if is_folder:
                waiting.append(name)
            if also_folders or not is_folder:
                yield _File(name, entry)


def _sorted(files: Iterator[_File]) -> list[_File]:
    return sorted(files, key=lambda file: file.name.encode())


def _by_number(file: _File) -> tuple[list[bytes | int], bytes]:
    """Where a picture comes: "9.png" before "10.png", of the same name in two classes the one whose class comes
    first.
    """
    in_class, path = file.name.split("/", 1)
    parts = _DIGITS.split(path)  # words and numbers in turn
    return [int(part) if i % 2 else part.encode() for i, part in enumerate(parts)], in_class.encode()


def _entries(path: Path) -> list[os.DirEntry[str]]:
    """What the folder holds, sorted by name."""
    try:
        with os.scandir(path) as found:
            return sorted(
                found,
                key=lambda entry: entry.name.encode(errors="surrogateescape" if is_leftover(entry.name) else "strict"),
            )
    except OSError as error:
        raise FmnistError(
            f"{path} must be a folder that can be read: {error.strerror}. Check its path and permissions."
        ) from error
    except UnicodeEncodeError as error:
        raise FmnistError(
            f"Names of files must be in UTF-8; {path} holds {os.fsencode(error.object)!r}. Rename it."
        ) from error


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself
        return False


def _identity(path: Path) -> tuple[int, int]:
    try:
        state = path.stat()
    except OSError as error:
        raise FmnistError(
            f"{path} must be a folder that can be read: {error.strerror}. Check its path and permissions."
        ) from error
    return state.st_dev, state.st_ino


def _identities(folder: Path) -> set[tuple[int, int]]:
    """The folder itself and all that it lies in: a link to one of them would lead round in a circle."""
    return {_identity(path) for path in (folder, *folder.resolve().parents)}
