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
from fmnist.data.layout import Layout, find_layout, require_outermost, split_of
from fmnist.data.leftovers import is_leftover, list_files
from fmnist.data.pictures import open_picture
from fmnist.data.preparation import Preparation, as_image
from fmnist.data.raw import Raw
from fmnist.data.scale import Scale
from fmnist.errors import FmnistError
from fmnist.memory import require_memory

EXTENSIONS = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff")
_LAYOUT = "Expected one folder of pictures for each class, such as Shirt/1.png and Bag/1.png"
_DIGITS = re.compile("([0-9]+)")
_NAMED = 1024  # bytes of a picture's path and label


class _File(NamedTuple):
    name: str  # relative to the folder that was walked, with "/"
    entry: os.DirEntry[str]
    is_leftover: bool = False

    @property
    def is_picture(self) -> bool:
        return not self.is_leftover and self.name.lower().endswith(EXTENSIONS)


def read_folder(folder: Path, *, skip_unreadable: bool, preparation: Preparation | None = None) -> Raw:
    """Read the pictures of one split as images, labelled with the names of their class folders.

    They are ordered by their path below the class folder, numbers by value: pictures numbered across all classes, as
    in an exported data set, keep that order. With `skip_unreadable`, files that are not readable pictures are skipped
    and listed in the result. Leftovers of systems and tools and files beside the class folders are always skipped.

    Raises: FmnistError if a folder or a picture cannot be read, or the pictures are not in class folders.
    """
    classes = _class_folders(folder)
    walked = [file for name in classes for file in _walk(folder, f"{name}/", _identities(folder))]
    files = sorted((file for file in walked if not file.is_leftover), key=_by_number)
    if not any(file.is_picture for file in files):
        raise FmnistError(
            f"{folder} must hold pictures; none of its folders {_listed(classes)} has one. {_LAYOUT} "
            f"({', '.join(EXTENSIONS)})."
        )
    require_outermost(str(folder), [file.name for file in files])
    preparation = preparation or Preparation()
    # Pixels are twice in memory while unreadable pictures are removed.
    require_memory(len(files) * (2 * preparation.size.bytes + _NAMED), f"{folder} ({len(files):,} files)")
    raw = _read(folder, files, classes, skip_unreadable, preparation)
    leftovers = _names(file for file in walked if file.is_leftover)
    return with_files_not_read(replace(raw, leftovers=leftovers), folder, classes)


def layout_of(folder: Path) -> Layout | None:
    """Return which folders in `folder` are splits, None if none is.

    Raises: FmnistError if it cannot be read, or has splits but no train split.
    """
    return find_layout(str(folder), _folders(folder))


def holds_pictures(folder: Path) -> bool:
    """Return whether `folder` has a train split with pictures, or at least two class folders with pictures."""
    names = _folders(folder)
    if any(map(split_of, names)):
        return any(split_of(name) == "train" and _has_picture(folder, name) for name in names)
    return sum(_has_picture(folder, name) for name in names) > 1


def with_files_not_read(raw: Raw, folder: Path, used: Iterable[str], splits: tuple[str, ...] = ()) -> Raw:
    """Return the same rows, with the files outside the folders called `used` listed as not read.

    Pictures in the folders called `splits` are listed as those of other splits.
    """
    used_folders = {_identity(folder / name) for name in used}
    files = list(_walk(folder, "", _identities(folder) - {_identity(folder)} | used_folders))
    prefixes = tuple(f"{name}/" for name in splits)
    leftovers = _names(file for file in files if file.is_leftover)
    of_splits = _names(file for file in files if file.is_picture and file.name.startswith(prefixes))
    others = _names(
        file for file in files if not (file.is_leftover or (file.is_picture and file.name.startswith(prefixes)))
    )
    return replace(
        raw,
        leftovers=raw.leftovers + leftovers,
        other_splits=raw.other_splits + of_splits,
        other_files=raw.other_files + others,
    )


def fingerprint_folder(folder: Path) -> str:
    """Return the SHA-256, in hex, of the paths of all files and folders and the content of files to read.

    Of leftovers, only the path counts.

    Raises: FmnistError if a folder cannot be read.
    """
    seen = _identities(folder) - {_identity(folder)}
    files = _sorted(_walk(folder, "", seen, also_folders=True))
    content_paths = [Path(file.entry.path) for file in files if not (file.is_leftover or file.name.endswith("/"))]
    fingerprint = hashlib.sha256()
    for text in (*(file.name for file in files), *file_digests(content_paths)):
        fingerprint.update(f"{text}\0".encode())
    return fingerprint.hexdigest()


def _read(
    folder: Path, files: list[_File], classes: tuple[str, ...], skip_unreadable: bool, preparation: Preparation
) -> Raw:
    side = preparation.side
    pixels = np.zeros((len(files), *preparation.size.shape), np.uint8)
    names: list[str] = []
    unreadable: list[str] = []
    is_resized, scale = False, Scale(preparation.white)
    for file in files:
        try:
            picture = _opened(folder, file, scale, in_colour=preparation.in_colour)
            pixels[len(names)] = as_image(picture, preparation)
        except FmnistError as error:
            if not skip_unreadable:
                raise FmnistError(f"{error} Or skip unreadable files with --skip-unreadable.") from error
            unreadable.append(file.name)
            continue
        is_resized |= picture.shape[:2] != (side, side)
        names.append(file.name)
    if not names:
        raise FmnistError(
            f"{folder} must hold readable pictures; none of {len(files):,} files is one, such as {files[0].name}. Save "
            "them again."
        )
    labels = np.array([name.partition("/")[0].strip() for name in names])
    return Raw(
        pixels[: len(names)],
        labels,
        names=tuple(names),
        classes=tuple(dict.fromkeys(name.strip() for name in classes)),
        unreadable=tuple(unreadable),
        extents=scale.extents,
        preparation=preparation.model_copy(update={"whites": scale.whites}),
        is_resized=is_resized,
    )


def _opened(folder: Path, file: _File, scale: Scale, *, in_colour: bool) -> NDArray[np.uint8]:
    if not file.is_picture:
        raise FmnistError(
            f"A class folder must hold only pictures ({', '.join(EXTENSIONS)}); {folder / file.name} is not one. Move "
            "it away."
        )
    return open_picture(folder / file.name, scale, in_colour=in_colour)


def _class_folders(folder: Path) -> tuple[str, ...]:
    entries = [entry for entry in _entries(folder) if not is_leftover(entry.name, is_folder=_is_folder(entry))]
    classes = tuple(entry.name for entry in entries if _is_folder(entry))
    loose = [entry.name for entry in entries if not _is_folder(entry) and entry.name.lower().endswith(EXTENSIONS)]
    if loose:
        raise FmnistError(
            f"Every picture must be in the folder of its class; {folder} holds {len(loose):,} in no class folder, such "
            f"as {loose[0]}. {_LAYOUT}."
        )
    if not classes:
        received = f"{len(entries):,} files, such as {entries[0].name}" if entries else "nothing"
        raise FmnistError(f"{folder} must hold a folder for each class; it holds {received}. {_LAYOUT}.")
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
    others = f" and {len(classes) - 5:,} more" if len(classes) > 5 else ""
    return f"{', '.join(classes[:5])}{others}"


def _walk(root: Path, start: str, seen: set[tuple[int, int]], *, also_folders: bool = False) -> Iterator[_File]:
    """Yield every file below `root`/`start`; folders in `seen`, or reached again through a link, are not entered."""
    pending = [start]
    while pending:
        prefix = pending.pop()
        if (identity := _identity(root / prefix)) in seen:
            continue
        seen.add(identity)
        for entry in _entries(root / prefix):
            is_folder = _is_folder(entry)
            if is_leftover(entry.name, is_folder=is_folder):
                names = list_files(Path(entry.path), f"{prefix}{entry.name}")
                yield from (_File(name, entry, is_leftover=True) for name in names)
                continue
            name = f"{prefix}{entry.name}/" if is_folder else f"{prefix}{entry.name}"
            if is_folder:
                pending.append(name)
            if also_folders or not is_folder:
                yield _File(name, entry)


def _sorted(files: Iterator[_File]) -> list[_File]:
    return sorted(files, key=lambda file: file.name.encode())


def _by_number(file: _File) -> tuple[list[bytes | int], bytes]:
    """Return a sort key that puts "9.png" before "10.png", and equal names in the order of their classes."""
    class_name, path = file.name.split("/", 1)
    parts = _DIGITS.split(path)  # text and numbers alternate
    return [int(part) if i % 2 else part.encode() for i, part in enumerate(parts)], class_name.encode()


def _entries(path: Path) -> list[os.DirEntry[str]]:
    """Return the entries of the folder, sorted by name."""
    try:
        with os.scandir(path) as entries:
            return sorted(
                entries,
                key=lambda entry: entry.name.encode(errors="surrogateescape" if is_leftover(entry.name) else "strict"),
            )
    except OSError as error:
        raise _folder_error(path, error) from error
    except UnicodeEncodeError as error:
        raise FmnistError(
            f"Names of files must be in UTF-8; {path} holds {os.fsencode(error.object)!r}. Rename it."
        ) from error


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _identity(path: Path) -> tuple[int, int]:
    try:
        state = path.stat()
    except OSError as error:
        raise _folder_error(path, error) from error
    return state.st_dev, state.st_ino


def _folder_error(path: Path, error: OSError) -> FmnistError:
    return FmnistError(f"{path} must be a folder that can be read: {error.strerror}. Check its path and permissions.")


def _identities(folder: Path) -> set[tuple[int, int]]:
    """Return the folder and its parents: a link to one of them would make a cycle."""
    return {_identity(path) for path in (folder, *folder.resolve().parents)}
