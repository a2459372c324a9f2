"""A file or folder, whatever its form -> its splits as they were read. What takes long to read is read once and kept in the cache."""

from collections.abc import Callable
from dataclasses import replace
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fmnist.data.arrays import read_npz
from fmnist.data.cache import file_digest, kept
from fmnist.data.folders import fingerprint_folder, read_folder
from fmnist.data.idx import read_idx
from fmnist.data.official import idx_files, lacking, raw_folder
from fmnist.data.raw import Raw
from fmnist.data.store import load_raw, save_raw
from fmnist.data.synthetic import CLASS_NAMES
from fmnist.errors import FmnistError
from fmnist.suggestions import did_you_mean

TABLES = (".csv", ".csv.gz", ".tsv", ".parquet")
ARRAYS = ".npz"
FORMS = "a CSV (.csv, .csv.gz), Parquet (.parquet) or NumPy (.npz) file, a folder train/<class name>/*.png, or the official files"


class Reading(NamedTuple):
    """A data set that was found and is still to be read: a digest of what is in its files, and what reads train and test from them."""

    key: str
    read: Callable[[], tuple[Raw, Raw | None]]


def open_path(path: Path, *, skip_unreadable: bool) -> Reading:
    """What lies at `path`, found by its suffix or by what is in the folder, not read yet.

    Raises: FmnistError where it is nothing that can be read.
    """
    if path.is_dir():
        return _open_folder(path, skip_unreadable)
    if not path.exists():
        beside = [each.name for each in path.parent.iterdir()] if path.parent.is_dir() else []
        near = get_close_matches(path.name, [*beside, "synthetic"], n=1)
        hint = did_you_mean(path.name, near) if near else "Check the path."
        raise FmnistError(f"Data are {FORMS}; {path} does not exist. {hint}")
    if _suffix(path) in TABLES:
        return Reading(key := file_digest(path), lambda: (_kept(key, partial(_read_table, path)), None))
    if _suffix(path) == ARRAYS:
        return Reading(file_digest(path), partial(read_npz, path))
    raise FmnistError(f"Data are {FORMS}; the name of {path} ends otherwise. Save them in one of these forms.")


def read_official(raw: Path) -> tuple[Raw, Raw]:
    """Fashion-MNIST from its four files in `raw`, its labels the names of the classes.

    Raises: FmnistError where a file is damaged or no idx file.
    """
    train, test = (replace(split, labels=np.array(CLASS_NAMES)[split.labels.astype(int)], classes=CLASS_NAMES) for split in _read_idx(raw))
    return train, test


def _open_folder(path: Path, skip_unreadable: bool) -> Reading:
    if (raw := raw_folder(path)) is not None:
        if missing := lacking(path):
            raise FmnistError(f"A folder of idx files holds all four of them; {path} lacks {', '.join(missing)}. Add what is missing.")
        return Reading("".join(file_digest(file) for file in idx_files(raw)), partial(_read_idx, raw))
    if tables := _split_tables(path):
        parts = [open_path(table, skip_unreadable=skip_unreadable) for table in tables]
        if len(parts) == 1:
            return parts[0]
        return Reading("".join(part.key for part in parts), lambda: (parts[0].read()[0], parts[1].read()[0]))
    key = f"{fingerprint_folder(path)}, skip_unreadable={skip_unreadable}"
    read = partial(read_folder, skip_unreadable=skip_unreadable)
    if not (path / "train").is_dir():
        return Reading(key, lambda: (_kept(key, partial(read, path)), None))
    test = path / "test"
    return Reading(
        key,
        lambda: (
            _kept(f"{key}, train", partial(read, path / "train")),
            _kept(f"{key}, test", partial(read, test)) if test.is_dir() else None,
        ),
    )


def _read_table(path: Path) -> Raw:
    from fmnist.data import tables  # Arrow takes long to import, and most runs read no table

    return tables.read_parquet(path) if _suffix(path) == ".parquet" else tables.read_csv(path)


def _split_tables(folder: Path) -> list[Path]:
    """The one table of train and the one of test in `folder`, told by their names, or its only table; none where there are none."""
    files = [path for path in sorted(folder.iterdir()) if path.is_file() and _suffix(path) in {*TABLES, ARRAYS}]
    if len(files) == 1:
        return files
    of_train, of_test = ([path for path in files if word in path.name.lower()] for word in ("train", "test"))
    if files and not (len(of_train) == len(of_test) == 1 and of_train != of_test):
        names = ", ".join(path.name for path in files)
        raise FmnistError(
            f"A folder of tables holds one whose name has 'train' in it and one with 'test'; {folder} holds {names}. "
            "Name the file itself with --data, and its test split with --test."
        )
    return [*of_train, *of_test]


def _read_idx(raw: Path) -> tuple[Raw, Raw]:
    images, labels, test_images, test_labels = idx_files(raw)
    return read_idx(images, labels), read_idx(test_images, test_labels)


def _kept(key: str, read: Callable[[], Raw]) -> Raw:
    return load_raw(kept("parsed", key, lambda folder: save_raw(folder, read())))


def _suffix(path: Path) -> str:
    name = path.name.lower()
    return next((suffix for suffix in (".csv.gz", *TABLES, ARRAYS) if name.endswith(suffix)), path.suffix)
