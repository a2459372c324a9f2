"""A file or folder, whatever its form -> its splits as they were read. What takes long to read is read once and kept in the cache."""

from collections.abc import Callable
from dataclasses import replace
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fmnist.data.arrays import read_npz, read_preparation
from fmnist.data.cache import digest, file_digest, kept
from fmnist.data.cleaning import CleaningRules
from fmnist.data.folders import fingerprint_folder, holds_pictures, layout_of, left_out, read_folder
from fmnist.data.idx import read_idx
from fmnist.data.leftovers import is_leftover
from fmnist.data.official import idx_files, lacking, raw_folder, strangers
from fmnist.data.preparation import CENTRED, RESIZED, Form, Preparation
from fmnist.data.raw import Raw
from fmnist.data.scale import Scale
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
    form: Form  # that its pictures are to become images of


def open_path(path: Path, rules: CleaningRules, form: Form | None = None) -> Reading:
    """What lies at `path`, found by its suffix or by what is in the folder, not read yet.

    Without a `form` it is what the data say of themselves, and else "resized".
    Raises: FmnistError where it is nothing that can be read.
    """
    if path.is_dir():
        return _open_folder(path, rules, form)
    if not path.exists():
        beside = [each.name for each in path.parent.iterdir()] if path.parent.is_dir() else []
        near = get_close_matches(path.name, [*beside, "synthetic"], n=1)
        hint = did_you_mean(path.name, near) if near else "Check the path."
        raise FmnistError(f"Data are {FORMS}; {path} does not exist. {hint}")
    if _suffix(path) in TABLES:
        return _open_table(path, rules.white, form or RESIZED)
    if _suffix(path) == ARRAYS:
        known = None if form else read_preparation(path)
        return Reading(file_digest(path), partial(read_npz, path, white=rules.white), form or (known.form if known else RESIZED))
    raise FmnistError(f"Data are {FORMS}; the name of {path} ends otherwise. Save them in one of these forms.")


def read_official(raw: Path, white: float | None = None) -> tuple[Raw, Raw]:
    """Fashion-MNIST from its four files in `raw`, its labels the names of the classes.

    Raises: FmnistError where a file is damaged or no idx file.
    """
    splits = _read_idx(raw, white)
    train, test = (replace(split, labels=np.array(CLASS_NAMES)[split.labels.astype(int)], classes=CLASS_NAMES) for split in splits)
    return _centred(train), _centred(test)


def _open_folder(path: Path, rules: CleaningRules, form: Form | None) -> Reading:
    if (raw := raw_folder(path)) is not None:
        if missing := lacking(path):
            raise FmnistError(f"A folder of idx files holds all four of them; {path} lacks {', '.join(missing)}. Add what is missing.")
        return _open_idx(raw, rules.white, form)
    if (tables := _tables(path)) and not holds_pictures(path):
        return _open_tables(path, tables, rules, form)
    return _open_pictures(path, rules, form or RESIZED)


def _open_idx(raw: Path, white: float | None, form: Form | None) -> Reading:
    files = idx_files(raw)
    is_official = not strangers(files)

    def read() -> tuple[Raw, Raw]:
        train, test = _read_idx(raw, white)
        return (_centred(train), _centred(test)) if is_official else (train, test)

    return Reading("".join(map(file_digest, files)), read, form or (CENTRED if is_official else RESIZED))


def _open_table(path: Path, white: float | None, form: Form) -> Reading:
    key = f"{file_digest(path)}, {white}, {form}"
    return Reading(key, lambda: (_kept(key, partial(_read_table, path, white, form)), None), form)


def _open_pictures(path: Path, rules: CleaningRules, form: Form) -> Reading:
    skip = rules.unreadable == "skip"
    key = f"{fingerprint_folder(path)}, skip_unreadable={skip}, white={rules.white}, {form}"
    layout = layout_of(path)

    def split(name: str) -> Raw:
        return _kept(f"{key}, {name}", partial(read_folder, path / name, skip_unreadable=skip, white=rules.white, form=form))

    def read() -> tuple[Raw, Raw | None]:
        if layout is None:
            return split("."), None
        taken = [name for name in (layout.train, layout.test) if name]
        return left_out(split(layout.train), path, taken, layout.validation), split(layout.test) if layout.test else None

    return Reading(key, read, form)


def _open_tables(folder: Path, tables: list[Path], rules: CleaningRules, form: Form | None) -> Reading:
    used = _split_tables(folder, tables)
    parts = [open_path(used[0], rules, form)]
    parts += [open_path(table, rules, parts[0].form) for table in used[1:]]
    others = tuple(table.name for table in tables if table not in used)
    leftovers = tuple(sorted(path.name for path in folder.iterdir() if is_leftover(path.name)))

    def read() -> tuple[Raw, Raw | None]:
        train, test = parts[0].read() if len(parts) == 1 else (parts[0].read()[0], parts[1].read()[0])
        return replace(train, leftovers=leftovers, other_files=others), test

    return Reading(digest([part.key for part in parts], others, leftovers), read, parts[0].form)


def _read_table(path: Path, white: float | None, form: Form) -> Raw:
    from fmnist.data import tables  # Arrow takes long to import, and most runs read no table

    if _suffix(path) == ".parquet":
        return tables.read_parquet(path, white=white, form=form)
    return tables.read_csv(path, white=white)


def _tables(folder: Path) -> list[Path]:
    files = [path for path in sorted(folder.iterdir()) if path.is_file() and not is_leftover(path.name)]
    return [path for path in files if _suffix(path) in {*TABLES, ARRAYS}]


def _split_tables(folder: Path, files: list[Path]) -> list[Path]:
    """The one table of train and the one of test among the `files` in `folder`, told by their names, or its only table."""
    if len(files) == 1:
        return files
    of_train, of_test = ([path for path in files if word in path.name.lower()] for word in ("train", "test"))
    if not (len(of_train) == len(of_test) == 1 and of_train != of_test):
        names = ", ".join(path.name for path in files)
        raise FmnistError(
            f"A folder of tables holds one whose name has 'train' in it and one with 'test'; {folder} holds {names}. "
            "Name the file itself with --data, and its test split with --test."
        )
    return [*of_train, *of_test]


def _read_idx(raw: Path, white: float | None) -> tuple[Raw, Raw]:
    images, labels, test_images, test_labels = idx_files(raw)
    return _scaled(read_idx(images, labels), white), _scaled(read_idx(test_images, test_labels), white)


def _centred(raw: Raw) -> Raw:
    return replace(raw, preparation=Preparation(form=CENTRED))


def _scaled(raw: Raw, white: float | None) -> Raw:
    if white is None:
        return raw
    scale = Scale(white)
    return replace(raw, pixels=scale.greys(raw.pixels, white), extents=scale.extents)


def _kept(key: str, read: Callable[[], Raw]) -> Raw:
    return load_raw(kept("parsed", key, lambda folder: save_raw(folder, read())))


def _suffix(path: Path) -> str:
    name = path.name.lower()
    return next((suffix for suffix in (".csv.gz", *TABLES, ARRAYS) if name.endswith(suffix)), path.suffix)
