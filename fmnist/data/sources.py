"""Sources of images: Fashion-MNIST, found or downloaded, the user's own data set, or synthetic images.

Files are Fashion-MNIST only if each of the four has the official MD5; otherwise they are damaged, or another data set.
All files are read and cleaned once. The result is cached, and workers map it into memory.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from hashlib import sha256
from pathlib import Path

import numpy as np

from fmnist.data import synthetic
from fmnist.data.arrays import write_npz
from fmnist.data.cache import cache_folder, cached_folder, digest
from fmnist.data.cleaning import CaughtPictures, CleaningReport, CleaningRules
from fmnist.data.download import FAILURES, download
from fmnist.data.images import Images
from fmnist.data.official import FASHION_MNIST, OFFICIAL, idx_files, missing_files, raw_folder, unofficial
from fmnist.data.pictures import resized
from fmnist.data.preparation import CENTRED, Preparation, with_channels
from fmnist.data.reading import FORMS, Reading, ReadOptions, open_path, read_official, with_test
from fmnist.data.store import (
    load_caught,
    load_for_scoring,
    load_images,
    load_preparation,
    load_report,
    save_cleaned,
    save_splits,
)
from fmnist.data.summary import DataSummary, summarise
from fmnist.data.synthetic import SYNTHETIC
from fmnist.errors import FmnistError
from fmnist.size import DEFAULT_SIZE, SIDE, Size

Announce = Callable[[str], None]


@dataclass(frozen=True)
class Source:
    """Cleaned images that can be loaded; small, so that it can be sent to worker processes instead of the images."""

    name: str
    root: Path | None  # the folder of the cleaned images; None for synthetic ones
    path: str | None = None  # the data and, below, the test split that the user named
    test_path: str | None = None
    size: Size = DEFAULT_SIZE  # of synthetic images; that of others is in their preparation

    @property
    def is_synthetic(self) -> bool:
        """Return whether the images are drawn by code."""
        return self.root is None

    @property
    def cleaning(self) -> CleaningReport | None:
        """Return what cleaning found and did; None for synthetic images, which are not cleaned."""
        return load_report(self.root) if self.root else None

    @property
    def preparation(self) -> Preparation:
        """Return how pictures became the images."""
        return load_preparation(self.root) if self.root else Preparation(form=CENTRED, **self.size._asdict())

    @property
    def caught(self) -> dict[str, CaughtPictures]:
        """Return the first images that each cleaning rule caught."""
        return load_caught(self.root) if self.root else {}

    @property
    def folder(self) -> Path:
        """Return the folder of the images; synthetic ones are drawn into the cache by the first process that asks."""
        return self.root or _drawn(self.size)

    def train(self) -> Images:
        """Return all images for training."""
        return load_images(self.folder, "train")

    def train_for_scoring(self) -> Images:
        """Return the training images for scoring: missing pixels are filled without using the labels."""
        return load_for_scoring(self.root) if self.root else self.train()

    def test(self) -> Images:
        """Return the test images. Only `fmnist.data.splits` may call this."""
        return load_images(self.folder, "test")

    def summary(self) -> DataSummary:
        """Return counts and statistics of both splits."""
        return summarise(self.train(), self.test())

    def save(self, path: Path) -> None:
        """Write both splits, filled without the labels, to the `.npz` file at `path`, which can be read as data."""
        write_npz(path, self.train_for_scoring(), self.test(), self.preparation)


def _synthetic_source(size: Size) -> Source:
    _drawn(size)  # here, where an error of the cache gets a message
    return Source(SYNTHETIC, None, size=size)


def _drawn(size: Size) -> Path:
    def draw(folder: Path) -> None:
        save_splits(folder, {"train": _at_size(synthetic.train(), size), "test": _at_size(synthetic.test(), size)})

    return cached_folder("synthetic", str(size), draw)


def _at_size(images: Images, size: Size) -> Images:
    scaled = [with_channels(resized(image, size.side), size.channels) for image in images.pixels]
    return replace(images, pixels=np.stack(scaled))


def fingerprint(images: Images) -> str:
    """Return the SHA-256, in hex, of pixels, labels and class names, the same on every platform."""
    content = sha256("\0".join(images.class_names).encode())
    content.update(np.ascontiguousarray(images.labels, dtype="<i8").data)
    content.update(np.ascontiguousarray(images.pixels).data)
    return content.hexdigest()


def find_source(
    data: str | None,
    *,
    test: str | None = None,
    rules: CleaningRules | None = None,
    or_synthetic: bool = False,
    may_download: bool = True,
    size: Size = DEFAULT_SIZE,
    preparation: Preparation | None = None,
    announce: Announce,
) -> Source:
    """Find, verify, read and clean a data set by `rules`, as images of `size`, announce it, and return its source.

    The data set is `data` (a file, a folder or the word "synthetic"), else $FMNIST_DATA. If neither is given, it is
    Fashion-MNIST in ./data, in the user's cache folder or, if it `may_download`, from the network; with `or_synthetic`,
    synthetic images replace it if all of these fail. `test` is a separate file or folder with the test split. A
    `preparation`, of a model to evaluate, overrides the one that the data declare, and the size.

    Raises: FmnistError if the data are not found, cannot be read, or are not fit to train on.
    """
    option, place = ("--data", data) if data is not None else ("$FMNIST_DATA", os.environ.get("FMNIST_DATA") or None)
    if test is not None and place in (None, SYNTHETIC):
        raise FmnistError(
            f"--test must name the test split of a data set; got --test {test} without such data. Name the data set "
            "with --data."
        )
    rules = rules or CleaningRules()
    options = ReadOptions.of(rules, size, preparation)
    try:
        if place == SYNTHETIC:
            announce(f"Data: synthetic images, drawn by code ({option}){_scaled_to(options.size)}.")
            return _synthetic_source(options.size)
        if place is None:
            return _default_source(rules, options.size, or_synthetic, may_download, announce)
        return _named_source(option, _path(place), _path(test) if test else None, rules, options, announce)
    except OSError as error:
        raise FmnistError(
            f"Data files must be readable, and {cache_folder()} writable for the cleaned images: {error}. "
            "Change the permissions, name other data with --data, or another cache with XDG_CACHE_HOME."
        ) from error


def _path(place: str) -> Path:
    if not place:
        raise FmnistError(
            f"Data must be {FORMS}; got an empty name. Omit the option to find or download Fashion-MNIST."
        )
    # Path.expanduser raises if the user in "~user" is unknown.
    return Path(os.path.abspath(os.path.expanduser(place)))  # noqa: PTH100, PTH111


def _default_source(
    rules: CleaningRules, size: Size, or_synthetic: bool, may_download: bool, announce: Announce
) -> Source:
    if raw_folder(Path("data")) is not None:
        return _fashion_mnist(Path("data").resolve(), "./data", rules, size, announce)
    # The cache counts only if it is complete: an earlier download may have been interrupted.
    if missing_files(cache_folder()):
        if not may_download:
            raise FmnistError(
                f"Fashion-MNIST is neither in {Path('data').resolve()} nor in {cache_folder()}. "
                f"{_put_into(Path('data'))}."
            )
        announce(f"Data: Fashion-MNIST is not on this machine yet; downloading it (30 MB) into {cache_folder()}.")
        try:
            download()
        except FAILURES as error:
            reason = " ".join(str(error).split())
            if not or_synthetic:
                raise FmnistError(_not_found(reason)) from error
            announce(
                f"Data: SYNTHETIC IMAGES, NOT FASHION-MNIST. No files were found and the download failed ({reason}): "
                "scores say nothing about Fashion-MNIST."
            )
            return _synthetic_source(size)
    return _fashion_mnist(cache_folder().resolve(), "the cache folder", rules, size, announce)


def _named_source(
    option: str, path: Path, test: Path | None, rules: CleaningRules, options: ReadOptions, announce: Announce
) -> Source:
    raw = raw_folder(path) if path.is_dir() else None
    if raw is not None and test is None:
        if missing_files(path) or len(unofficial(idx_files(raw))) < len(OFFICIAL):
            return _fashion_mnist(path, option, rules, options.size, announce)
        announce(
            f"Data: none of the idx files in {raw} is an official one of Fashion-MNIST; they are read as another data "
            "set."
        )
    reading = open_path(path, options)
    if test:
        within = test.relative_to(path).as_posix() if path.is_dir() and test.is_relative_to(path) else ""
        reading = with_test(reading, open_path(test, options._replace(form=reading.form)), within)
    name = f"{path.name} (own)" if path.name in (FASHION_MNIST, SYNTHETIC) else path.name
    root = _cleaned(reading, rules, (str(path), str(test or path)), announce)
    source = Source(name, root, str(path), str(test) if test else None)
    announce(f"Data: {_describe(source)}")
    return source


def _fashion_mnist(root: Path, origin: str, rules: CleaningRules, size: Size, announce: Announce) -> Source:
    """Return the source of the official files below `root`; `origin` names `root` in errors.

    Raises: FmnistError if one is missing, damaged or not official.
    """
    raw = raw_folder(root)
    if raw is None or (absent := missing_files(root)):
        missing = "them" if raw is None else ", ".join(absent)
        raise FmnistError(
            f"{origin} must hold all four files of Fashion-MNIST; {root} does not have {missing}. {_put_into(root)}."
        )
    files = idx_files(raw)
    if wrong := unofficial(files):
        read_official(raw)  # raises a more precise error if a file is cut short or not an idx file
        raise FmnistError(
            f"{wrong[0]} must be the official Fashion-MNIST file; its MD5 differs. It is damaged or belongs to another "
            "data set: replace it, or delete it and let it be downloaded."
        )
    reading = Reading(FASHION_MNIST, partial(read_official, raw, rules.white), CENTRED, size)  # the MD5 fixes the files
    cleaned = _cleaned(reading, rules, (str(raw), str(raw)), announce)
    announce(f"Data: Fashion-MNIST, in {raw}{_scaled_to(size)}.")
    return Source(FASHION_MNIST, cleaned, str(root) if origin == "--data" else None)


def _cleaned(reading: Reading, rules: CleaningRules, where: tuple[str, str], announce: Announce) -> Path:
    def make(folder: Path) -> None:
        from fmnist.data.clean import clean  # brings scikit-learn, a second to import

        announce(f"Data: reading and cleaning {where[0]}; the result is cached.")
        save_cleaned(folder, clean(*reading.read(), rules, where=where, form=reading.form, size=reading.size))

    key = digest(reading.key, reading.form, reading.size, rules.model_dump(mode="json"))
    return cached_folder("cleaned", key, make)


def _scaled_to(size: Size) -> str:
    """Return what becomes of images of 28 x 28 grey pixels, "" if nothing does."""
    scaled = f", scaled to {size.dimensions} pixels" if size.side != SIDE else ""
    return f"{scaled}, its grey in each of {size.channels} channels" if size.channels > 1 else scaled


def _describe(source: Source) -> str:
    report = source.cleaning
    assert report, "files were cleaned"
    images = f"{source.name}: {report.train_kept:,} training and {report.test_kept:,} test images"
    held_out = ", the latter held out of the former because no test split was given" if report.held_out else ""
    caught = ", ".join(
        f"{caught.rule} {caught.train + caught.test:,} {caught.action}"
        for caught in report.caught
        if caught.train or caught.test
    )
    size = f" of {report.size}" if report.size != DEFAULT_SIZE else ""
    colourless = "; no image has a colour, so its three channels are equal" if report.colourless else ""
    return f"{images}{size}{held_out}; {f'cleaned: {caught}' if caught else 'nothing had to be cleaned'}{colourless}."


def _not_found(reason: str) -> str:
    return (
        f"Fashion-MNIST is needed; it is neither in {Path('data').resolve()} nor in {cache_folder()}, "
        f"and the download failed ({reason}). {_put_into(Path('data'))}, name other data with --data or $FMNIST_DATA, "
        f"or use synthetic images: --data {SYNTHETIC}."
    )


def _put_into(root: Path) -> str:
    names = ", ".join(f"{file.name}.gz" for file in OFFICIAL)
    return f"Put the four files ({names}) into {root / 'FashionMNIST' / 'raw'}"
