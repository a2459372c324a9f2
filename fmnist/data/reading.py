"""A file or folder of any supported form -> its splits as they were read. Slow reads are cached."""

from collections.abc import Callable
from dataclasses import replace
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fmnist.data.arrays import read_npz, read_preparation
from fmnist.data.cache import cached_folder, digest, file_digest
from fmnist.data.cleaning import CleaningRules
from fmnist.data.folders import fingerprint_folder, holds_pictures, layout_of, read_folder, with_files_not_read
from fmnist.data.idx import read_idx
from fmnist.data.leftovers import is_leftover
from fmnist.data.official import idx_files, missing_files, raw_folder, unofficial
from fmnist.data.preparation import CENTRED, LETTERBOXED, Form, Preparation
from fmnist.data.raw import Raw
from fmnist.data.scale import Scale
from fmnist.data.store import load_raw, save_raw
from fmnist.data.synthetic import CLASS_NAMES
from fmnist.errors import FmnistError
from fmnist.size import Size
from fmnist.suggestions import did_you_mean

TABLES = (".csv", ".csv.gz", ".tsv", ".parquet")
ARRAYS = ".npz"
FORMS = (
    "a CSV (.csv, .csv.gz), Parquet (.parquet) or NumPy (.npz) file, a folder train/<class name>/*.png, or the "
    "official files"
)


class ReadOptions(NamedTuple):
    """The options of a study, or of a model to evaluate, that decide how files are read."""

    of_numbers: float | None  # stated white of tables and arrays
    of_pictures: float | None  # stated white of picture files
    skip_unreadable: bool
    form: Form | None  # None means the form that the data declare, else "letterboxed"
    size: Size  # of the images

    @classmethod
    def of(cls, rules: CleaningRules, size: Size, preparation: Preparation | None) -> "ReadOptions":
        """Return the options of a study's rules and size; a model's preparation takes precedence over them."""
        skip = rules.unreadable == "skip"
        if preparation is None:
            return cls(rules.white, rules.white, skip, None, size)
        return cls(preparation.of_numbers, preparation.of_pictures, skip, preparation.form, preparation.size)

    @property
    def preparation(self) -> Preparation:
        """Return the preparation of pictures, or of colours in an array."""
        return Preparation(form=self.form or LETTERBOXED, white=self.of_pictures, **self.size._asdict())


class Reading(NamedTuple):
    """A data set that was found but not read yet."""

    key: str  # a digest of the content of its files
    read: Callable[[], tuple[Raw, Raw | None]]  # returns train and test
    form: Form  # of its images
    size: Size


def open_path(path: Path, options: ReadOptions) -> Reading:
    """Return the data set at `path`, recognised by its suffix or the content of the folder, without reading it.

    Raises: FmnistError if its form is not supported.
    """
    if path.is_dir():
        return _open_folder(path, options)
    if not path.exists():
        siblings = [sibling.name for sibling in path.parent.iterdir()] if path.parent.is_dir() else []
        near = get_close_matches(path.name, [*siblings, "synthetic"], n=1)
        hint = did_you_mean(path.name, near) if near else "Check the path."
        raise FmnistError(f"Data must be {FORMS}; {path} does not exist. {hint}")
    if _suffix(path) in TABLES:
        return _open_table(path, options)
    if _suffix(path) == ARRAYS:
        stored = None if options.form else read_preparation(path)
        options = options._replace(form=options.form or (stored.form if stored else LETTERBOXED))
        in_colour = options.preparation.in_colour
        key = f"{file_digest(path)}, {options.of_numbers}, {in_colour}"
        read = partial(read_npz, path, white=options.of_numbers, in_colour=in_colour)
        return Reading(key, read, options.preparation.form, options.size)
    raise FmnistError(f"Data must be {FORMS}; {path} has another suffix. Save the data in one of these forms.")


def with_test(reading: Reading, test_reading: Reading, within: str = "") -> Reading:
    """Return train of the first reading with test of the second: its test split if it has one, else all of it.

    `within`: the folder of the second one in that of the first, if it is there: its files are read after all.
    """

    def is_read(name: str) -> bool:
        return bool(within) and name.startswith(f"{within}/")

    def read() -> tuple[Raw, Raw | None]:
        (train, unused_test), (first, second) = reading.read(), test_reading.read()
        is_same = unused_test is not None and bool(within) and _is_equal(unused_test, first)
        train = replace(
            train,
            other_splits=tuple(name for name in train.other_splits if not is_read(name))
            + (() if is_same else _row_names(unused_test)),
            other_files=tuple(name for name in train.other_files if not is_read(name)),
        )
        return train, replace(second, other_splits=second.other_splits + _row_names(first)) if second else first

    return Reading(digest(reading.key, test_reading.key, within), read, reading.form, reading.size)


def _is_equal(one: Raw, other: Raw) -> bool:
    return one.names == other.names and np.array_equal(one.pixels, other.pixels)


def _row_names(raw: Raw | None) -> tuple[str, ...]:
    return tuple(raw.row(index) for index in range(len(raw))) if raw else ()


def read_official(folder: Path, white: float | None = None) -> tuple[Raw, Raw]:
    """Read Fashion-MNIST from its four files in `folder`, labelled with the names of the classes.

    Raises: FmnistError if a file is damaged or not an idx file.
    """
    splits = _read_idx(folder, white)
    train, test = (
        replace(split, labels=np.array(CLASS_NAMES)[split.labels.astype(int)], classes=CLASS_NAMES) for split in splits
    )
    return _centred(train), _centred(test)


def _open_folder(path: Path, options: ReadOptions) -> Reading:
    if (folder := raw_folder(path)) is not None:
        if missing := missing_files(path):
            raise FmnistError(
                f"A folder of idx files must hold all four of them; {path} has no {', '.join(missing)}. Add the "
                "missing files."
            )
        return _open_idx(folder, options)
    if not (tables := _tables(path)):
        return _open_pictures(path, options)
    if not holds_pictures(path):
        return _open_tables(path, tables, options)
    if layout_of(path) is None and _train_and_test(tables):
        raise FmnistError(
            f"A folder must hold one data set; {path} holds tables of train and test, and folders of pictures that "
            "could be classes. Name the table with --data and the other with --test, or move other files out of the "
            "folder."
        )
    return _open_pictures(path, options)


def _open_idx(folder: Path, options: ReadOptions) -> Reading:
    files = idx_files(folder)
    is_official = not unofficial(files)

    def read() -> tuple[Raw, Raw]:
        train, test = _read_idx(folder, options.of_numbers)
        return (_centred(train), _centred(test)) if is_official else (train, test)

    key = f"{''.join(map(file_digest, files))}, {options.of_numbers}"
    return Reading(key, read, options.form or (CENTRED if is_official else LETTERBOXED), options.size)


def _open_table(path: Path, options: ReadOptions) -> Reading:
    form = options.form or LETTERBOXED
    options = options._replace(form=form)  # in the key of the cache, too
    key = f"{file_digest(path)}, {options}"

    def read() -> tuple[Raw, None]:
        return _cached(key, partial(_read_table, path, options)), None

    return Reading(key, read, form, options.size)


def _open_pictures(path: Path, options: ReadOptions) -> Reading:
    form = options.form or LETTERBOXED
    options = options._replace(form=form)  # in the key of the cache, too
    key = f"{fingerprint_folder(path)}, {options}"
    layout = layout_of(path)
    preparation = options.preparation

    def split(name: str) -> Raw:
        read = partial(read_folder, path / name, skip_unreadable=options.skip_unreadable, preparation=preparation)
        return _cached(f"{key}, {name}", read)

    def read() -> tuple[Raw, Raw | None]:
        if layout is None:
            return split("."), None
        used = [name for name in (layout.train, layout.test) if name]
        train = with_files_not_read(split(layout.train), path, used, layout.validation)
        return train, split(layout.test) if layout.test else None

    return Reading(key, read, form, options.size)


def _open_tables(folder: Path, tables: list[Path], options: ReadOptions) -> Reading:
    used = _split_tables(folder, tables)
    reading = open_path(used[0], options)
    if len(used) > 1:
        reading = with_test(reading, open_path(used[1], options._replace(form=reading.form)))
    others = tuple(table.name for table in tables if table not in used)
    leftovers = tuple(sorted(path.name for path in folder.iterdir() if is_leftover(path.name)))

    def read() -> tuple[Raw, Raw | None]:
        train, test = reading.read()
        return replace(train, leftovers=leftovers, other_files=others), test

    return Reading(digest(reading.key, others, leftovers), read, reading.form, reading.size)


def _read_table(path: Path, options: ReadOptions) -> Raw:
    from fmnist.data import tables  # Arrow is slow to import, and most runs read no table

    if _suffix(path) == ".parquet":
        return tables.read_parquet(
            path,
            white=options.of_numbers,
            pictures=options.preparation,
            skip_unreadable=options.skip_unreadable,
        )
    return tables.read_csv(path, white=options.of_numbers)


def _tables(folder: Path) -> list[Path]:
    files = [path for path in sorted(folder.iterdir()) if path.is_file() and not is_leftover(path.name)]
    return [path for path in files if _suffix(path) in {*TABLES, ARRAYS}]


def _split_tables(folder: Path, files: list[Path]) -> list[Path]:
    """Return the tables of train and of test among the `files` in `folder`, by their names, or its only table."""
    if len(files) == 1:
        return files
    if pair := _train_and_test(files):
        return pair
    names = ", ".join(path.name for path in files)
    raise FmnistError(
        f"A folder of tables must hold one whose name contains 'train' and one with 'test'; {folder} holds {names}. "
        "Name the file itself with --data, and its test split with --test."
    )


def _train_and_test(files: list[Path]) -> list[Path] | None:
    train, test = ([path for path in files if word in path.name.lower()] for word in ("train", "test"))
    return [*train, *test] if len(train) == len(test) == 1 and train != test else None


def _read_idx(folder: Path, white: float | None) -> tuple[Raw, Raw]:
    images, labels, test_images, test_labels = idx_files(folder)
    return _scaled(read_idx(images, labels), white), _scaled(read_idx(test_images, test_labels), white)


def _centred(raw: Raw) -> Raw:
    return replace(raw, preparation=Preparation(form=CENTRED))


def _scaled(raw: Raw, white: float | None) -> Raw:
    if white is None:
        return raw
    scale = Scale(white)
    return replace(raw, pixels=scale.greys(raw.pixels, white), extents=scale.extents)


def _cached(key: str, read: Callable[[], Raw]) -> Raw:
    return load_raw(cached_folder("parsed", key, lambda folder: save_raw(folder, read())))


def _suffix(path: Path) -> str:
    name = path.name.lower()
    return next((suffix for suffix in (".csv.gz", *TABLES, ARRAYS) if name.endswith(suffix)), path.suffix)
