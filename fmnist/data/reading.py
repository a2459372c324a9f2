"""A file or folder, whatever its form -> its splits as they were read. What takes long to read is read once and kept in
the cache.
"""

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
from fmnist.data.official import idx_files, missing_files, raw_folder, unofficial
from fmnist.data.preparation import CENTRED, RESIZED, Form, Preparation
from fmnist.data.raw import Raw
from fmnist.data.scale import Scale
from fmnist.data.store import load_raw, save_raw
from fmnist.data.synthetic import CLASS_NAMES
from fmnist.errors import FmnistError
from fmnist.suggestions import did_you_mean

TABLES = (".csv", ".csv.gz", ".tsv", ".parquet")
ARRAYS = ".npz"
FORMS = (
    "a CSV (.csv, .csv.gz), Parquet (.parquet) or NumPy (.npz) file, a folder train/<class name>/*.png, or the "
    "official files"
)


class Asked(NamedTuple):
    """What of a study, or of a model that is to see the images, decides how files are read."""

    of_numbers: float | None  # what is stated to be white in tables and arrays
    of_pictures: float | None  # and in picture files
    skip_unreadable: bool
    form: Form | None  # None: what the data say of themselves, and else "resized"

    @classmethod
    def by(cls, rules: CleaningRules, preparation: Preparation | None) -> "Asked":
        """By the rules of a study; a model's preparation comes before what they say of white."""
        skip = rules.unreadable == "skip"
        if preparation is None:
            return cls(rules.white, rules.white, skip, None)
        return cls(preparation.of_numbers, preparation.of_pictures, skip, preparation.form)


class Reading(NamedTuple):
    """A data set that was found and is still to be read: a digest of what is in its files, and what reads train and
    test from them.
    """

    key: str
    read: Callable[[], tuple[Raw, Raw | None]]
    form: Form  # that its pictures are to become images of


def open_path(path: Path, asked: Asked) -> Reading:
    """What lies at `path`, found by its suffix or by what is in the folder, not read yet.

    Raises: FmnistError where it is nothing that can be read.
    """
    if path.is_dir():
        return _open_folder(path, asked)
    if not path.exists():
        beside = [each.name for each in path.parent.iterdir()] if path.parent.is_dir() else []
        near = get_close_matches(path.name, [*beside, "synthetic"], n=1)
        hint = did_you_mean(path.name, near) if near else "Check the path."
        raise FmnistError(f"Data are {FORMS}; {path} does not exist. {hint}")
    if _suffix(path) in TABLES:
        return _open_table(path, asked)
    if _suffix(path) == ARRAYS:
        known = None if asked.form else read_preparation(path)
        form = asked.form or (known.form if known else RESIZED)
        return Reading(
            f"{file_digest(path)}, {asked.of_numbers}", partial(read_npz, path, white=asked.of_numbers), form
        )
    raise FmnistError(f"Data are {FORMS}; the name of {path} ends otherwise. Save them in one of these forms.")


def with_test(reading: Reading, of_test: Reading) -> Reading:
    """Train from the first, test from the second: its test split where it has one, else all of it."""

    def read() -> tuple[Raw, Raw | None]:
        (train, unused), (first, second) = reading.read(), of_test.read()
        train = replace(train, other_splits=train.other_splits + _rows(unused))
        return train, replace(second, other_splits=second.other_splits + _rows(first)) if second else first

    return Reading(digest(reading.key, of_test.key), read, reading.form)


def _rows(raw: Raw | None) -> tuple[str, ...]:
    return tuple(raw.row(index) for index in range(len(raw))) if raw else ()


def read_official(raw: Path, white: float | None = None) -> tuple[Raw, Raw]:
    """Fashion-MNIST from its four files in `raw`, its labels the names of the classes.

    Raises: FmnistError where a file is damaged or no idx file.
    """
    splits = _read_idx(raw, white)
    train, test = (
        replace(split, labels=np.array(CLASS_NAMES)[split.labels.astype(int)], classes=CLASS_NAMES) for split in splits
    )
    return _centred(train), _centred(test)


def _open_folder(path: Path, asked: Asked) -> Reading:
    if (raw := raw_folder(path)) is not None:
        if missing := missing_files(path):
            raise FmnistError(
                f"A folder of idx files holds all four of them; {path} lacks {', '.join(missing)}. Add what is missing."
            )
        return _open_idx(raw, asked)
    if not (tables := _tables(path)):
        return _open_pictures(path, asked)
    if not holds_pictures(path):
        return _open_tables(path, tables, asked)
    if layout_of(path) is None and _pair(tables):
        raise FmnistError(
            f"A folder is read as one data set; {path} holds tables of train and test, and folders of pictures that "
            "could be classes. "
            "Name the table with --data and the other with --test, or move what is no data out of the folder."
        )
    return _open_pictures(path, asked)


def _open_idx(raw: Path, asked: Asked) -> Reading:
    files = idx_files(raw)
    is_official = not unofficial(files)

    def read() -> tuple[Raw, Raw]:
        train, test = _read_idx(raw, asked.of_numbers)
        return (_centred(train), _centred(test)) if is_official else (train, test)

    key = f"{''.join(map(file_digest, files))}, {asked.of_numbers}"
    return Reading(key, read, asked.form or (CENTRED if is_official else RESIZED))


def _open_table(path: Path, asked: Asked) -> Reading:
    key = f"{file_digest(path)}, {asked}"
    return Reading(key, lambda: (_kept(key, partial(_read_table, path, asked)), None), asked.form or RESIZED)


def _open_pictures(path: Path, asked: Asked) -> Reading:
    key = f"{fingerprint_folder(path)}, {asked}"
    layout = layout_of(path)
    wanted = Preparation(form=asked.form or RESIZED, white=asked.of_pictures)

    def split(name: str) -> Raw:
        return _kept(
            f"{key}, {name}", partial(read_folder, path / name, skip_unreadable=asked.skip_unreadable, wanted=wanted)
        )

    def read() -> tuple[Raw, Raw | None]:
        if layout is None:
            return split("."), None
        taken = [name for name in (layout.train, layout.test) if name]
        return left_out(split(layout.train), path, taken, layout.validation), split(
            layout.test
        ) if layout.test else None

    return Reading(key, read, wanted.form)


def _open_tables(folder: Path, tables: list[Path], asked: Asked) -> Reading:
    used = _split_tables(folder, tables)
    of_train = open_path(used[0], asked)
    of_both = with_test(of_train, open_path(used[1], asked._replace(form=of_train.form))) if len(used) > 1 else of_train
    others = tuple(table.name for table in tables if table not in used)
    leftovers = tuple(sorted(path.name for path in folder.iterdir() if is_leftover(path.name)))

    def read() -> tuple[Raw, Raw | None]:
        train, test = of_both.read()
        return replace(train, leftovers=leftovers, other_files=others), test

    return Reading(digest(of_both.key, others, leftovers), read, of_both.form)


def _read_table(path: Path, asked: Asked) -> Raw:
    from fmnist.data import tables  # Arrow takes long to import, and most runs read no table

    if _suffix(path) == ".parquet":
        return tables.read_parquet(
            path, white=asked.of_numbers, pictures=Preparation(form=asked.form or RESIZED, white=asked.of_pictures)
        )
    return tables.read_csv(path, white=asked.of_numbers)


def _tables(folder: Path) -> list[Path]:
    files = [path for path in sorted(folder.iterdir()) if path.is_file() and not is_leftover(path.name)]
    return [path for path in files if _suffix(path) in {*TABLES, ARRAYS}]


def _split_tables(folder: Path, files: list[Path]) -> list[Path]:
    """The one table of train and the one of test among the `files` in `folder`, told by their names, or its only
    table.
    """
    if len(files) == 1:
        return files
    if pair := _pair(files):
        return pair
    names = ", ".join(path.name for path in files)
    raise FmnistError(
        f"A folder of tables holds one whose name has 'train' in it and one with 'test'; {folder} holds {names}. "
        "Name the file itself with --data, and its test split with --test."
    )


def _pair(files: list[Path]) -> list[Path] | None:
    of_train, of_test = ([path for path in files if word in path.name.lower()] for word in ("train", "test"))
    return [*of_train, *of_test] if len(of_train) == len(of_test) == 1 and of_train != of_test else None


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
