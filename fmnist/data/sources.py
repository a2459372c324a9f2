"""Where the images come from: Fashion-MNIST, found or downloaded, a data set of one's own, or images drawn by code.

One rule decides what may be called Fashion-MNIST: each of the four files has the official MD5. Whatever differs is
damaged, or a data set of another name. All files are read and cleaned once; what came out is kept in the cache, where
workers map it into memory.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path

import numpy as np

from fmnist.data import synthetic
from fmnist.data.arrays import write_npz
from fmnist.data.cache import cache_folder, digest, kept
from fmnist.data.cleaning import CaughtPictures, CleaningReport, CleaningRules
from fmnist.data.download import FAILURES, download
from fmnist.data.images import Images
from fmnist.data.official import FASHION_MNIST, OFFICIAL, idx_files, missing_files, raw_folder, unofficial
from fmnist.data.preparation import CENTRED, Preparation
from fmnist.data.reading import FORMS, Asked, Reading, open_path, read_official, with_test
from fmnist.data.store import load_blind, load_caught, load_images, load_preparation, load_report, save_cleaned
from fmnist.data.summary import DataSummary, summarise
from fmnist.data.synthetic import SYNTHETIC
from fmnist.errors import FmnistError

Announce = Callable[[str], None]


@dataclass(frozen=True)
class Source:
    """Images that are ready, cleaned, to be loaded: small, so that it travels to worker processes in their stead."""

    name: str
    root: Path | None  # the folder of the cleaned images; None for synthetic ones
    path: str | None = None  # what was named as data, and as test split
    test_path: str | None = None

    @property
    def is_synthetic(self) -> bool:
        """True where the images are drawn by code."""
        return self.root is None

    @property
    def cleaning(self) -> CleaningReport | None:
        """What cleaning found and did; None for images drawn by code, which need none."""
        return load_report(self.root) if self.root else None

    @property
    def preparation(self) -> Preparation:
        """How pictures became the images."""
        return load_preparation(self.root) if self.root else Preparation(form=CENTRED)

    @property
    def caught(self) -> dict[str, CaughtPictures]:
        """The first images that each cleaning rule caught."""
        return load_caught(self.root) if self.root else {}

    def train(self) -> Images:
        """All images that may be trained on."""
        return load_images(self.root, "train") if self.root else synthetic.train()

    def train_blind(self) -> Images:
        """The same images, to be scored on: no pixel that was missing was filled by what is known of the image's
        class.
        """
        return load_blind(self.root) if self.root else synthetic.train()

    def test(self) -> Images:
        """The test images. Only `fmnist.data.splits` may call this."""
        return load_images(self.root, "test") if self.root else synthetic.test()

    def summary(self) -> DataSummary:
        """Both splits in figures."""
        return summarise(self.train(), self.test())

    def save(self, path: Path) -> None:
        """Both splits are in the `.npz` at `path`, which can be named as data again; no pixel of them tells of a
        label.
        """
        write_npz(path, self.train_blind(), self.test(), self.preparation)


def fingerprint(images: Images) -> str:
    """The SHA-256, in hex, of pixels, labels and class names: the same for the same images, on every platform."""
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
    preparation: Preparation | None = None,
    announce: Announce,
) -> Source:
    """The source that was asked for: verified, read, cleaned by `rules` and announced.

    Looks at `data` (a file or folder, or the word "synthetic"), else $FMNIST_DATA, else ./data, the user's cache
    folder, and the network if it `may_download`, which are for Fashion-MNIST only. `test` is a file or folder of its
    own for the test split. A `preparation`, of a model that is to see the images, takes the place of the one that the
    data ask for. With `or_synthetic`, images drawn by code stand in where all of the last three fail; for data that
    were named, nothing does.

    Raises: FmnistError where there are no data to be had, they cannot be read, or are not fit to train on.
    """
    option, place = ("--data", data) if data is not None else ("$FMNIST_DATA", os.environ.get("FMNIST_DATA") or None)
    if test is not None and place in (None, SYNTHETIC):
        raise FmnistError(
            f"--test names the test split of the data that --data names; got --test {test} without such data."
        )
    rules = rules or CleaningRules()
    asked = Asked.by(rules, preparation)
    try:
        if place == SYNTHETIC:
            announce(f"Data: synthetic images, drawn by code ({option}).")
            return Source(SYNTHETIC, None)
        if place is None:
            return _found(rules, or_synthetic, may_download, announce)
        return _named(option, _path(place), _path(test) if test else None, rules, asked, announce)
    except OSError as error:
        raise FmnistError(
            f"Data files must be readable, and {cache_folder()} writable for what is made of them: {error}. "
            "Change the permissions, name other data with --data, or another cache with XDG_CACHE_HOME."
        ) from error


def _path(place: str) -> Path:
    if not place:
        raise FmnistError(
            f"Data are {FORMS}; got an empty name. Leave the option out to have Fashion-MNIST found or downloaded."
        )
    # Not Path.expanduser: that one raises where the user in "~user" is unknown.
    return Path(os.path.abspath(os.path.expanduser(place)))  # noqa: PTH100, PTH111


def _found(rules: CleaningRules, or_synthetic: bool, may_download: bool, announce: Announce) -> Source:
    if raw_folder(Path("data")) is not None:
        return _fashion_mnist(Path("data").resolve(), "./data", rules, announce)
    # Of the cache, only what is complete counts: an earlier run may have been stopped while it downloaded.
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
                raise FmnistError(_nowhere(reason)) from error
            announce(
                f"Data: SYNTHETIC IMAGES, NOT FASHION-MNIST. No files found and no download ({reason}): scores say "
                "nothing about it."
            )
            return Source(SYNTHETIC, None)
    return _fashion_mnist(cache_folder().resolve(), "the cache folder", rules, announce)


def _named(
    option: str, path: Path, test: Path | None, rules: CleaningRules, asked: Asked, announce: Announce
) -> Source:
    raw = raw_folder(path) if path.is_dir() else None
    if raw is not None and test is None:
        if missing_files(path) or len(unofficial(idx_files(raw))) < len(OFFICIAL):
            return _fashion_mnist(path, option, rules, announce)
        announce(
            f"Data: the idx files in {raw} are not the official ones of Fashion-MNIST, not one of them; they are a "
            "data set of their own."
        )
    reading = open_path(path, asked)
    of_test = open_path(test, asked._replace(form=reading.form)) if test else None
    name = f"{path.name} (own)" if path.name in (FASHION_MNIST, SYNTHETIC) else path.name
    root = _cleaned(
        with_test(reading, of_test) if of_test else reading, rules, (str(path), str(test or path)), announce
    )
    source = Source(name, root, str(path), str(test) if test else None)
    announce(f"Data: {_told(source)}")
    return source


def _fashion_mnist(root: Path, asked_by: str, rules: CleaningRules, announce: Announce) -> Source:
    """The official files under `root`.

    Raises: FmnistError where one is absent, damaged or another.
    """
    raw = raw_folder(root)
    if raw is None or (absent := missing_files(root)):
        lacks = "the four files" if raw is None else ", ".join(absent)
        raise FmnistError(
            f"{asked_by} must hold all of Fashion-MNIST's four files; {root} lacks {lacks}. {_put_into(root)}."
        )
    files = idx_files(raw)
    if wrong := unofficial(files):
        read_official(raw)  # says more precisely what is wrong, where a file is cut short or no idx file at all
        raise FmnistError(
            f"{wrong[0]} must be the official Fashion-MNIST file; its MD5 is another one. It is damaged or of another "
            "data set: "
            "replace it, or delete it and let it be downloaded."
        )
    reading = Reading(
        FASHION_MNIST, partial(read_official, raw, rules.white), CENTRED
    )  # its files are known to be these
    cleaned = _cleaned(reading, rules, (str(raw), str(raw)), announce)
    announce(f"Data: Fashion-MNIST, in {raw}.")
    return Source(FASHION_MNIST, cleaned, str(root) if asked_by == "--data" else None)


def _cleaned(reading: Reading, rules: CleaningRules, where: tuple[str, str], announce: Announce) -> Path:
    def make(folder: Path) -> None:
        from fmnist.data.clean import clean  # brings scikit-learn, a second to import

        announce(f"Data: reading and cleaning {where[0]}; the result is kept.")
        save_cleaned(folder, clean(*reading.read(), rules, where=where, form=reading.form))

    return kept("cleaned", digest(reading.key, reading.form, rules.model_dump(mode="json")), make)


def _told(source: Source) -> str:
    report = source.cleaning
    assert report, "files were cleaned"
    images = f"{source.name}: {report.train_kept:,} training and {report.test_kept:,} test images"
    held_out = ", the latter held out of the former, as no test split was given" if report.held_out else ""
    found = ", ".join(
        f"{one.rule} {one.train + one.test:,} {one.action}" for one in report.caught if one.train or one.test
    )
    return f"{images}{held_out}; {f'cleaned: {found}' if found else 'nothing had to be cleaned'}."


def _nowhere(reason: str) -> str:
    return (
        f"Fashion-MNIST is needed; it is neither in {Path('data').resolve()} nor in {cache_folder()}, "
        f"and the download failed ({reason}). {_put_into(Path('data'))}, name other data with --data or $FMNIST_DATA, "
        f"or use images drawn by code: --data {SYNTHETIC}."
    )


def _put_into(root: Path) -> str:
    names = ", ".join(f"{file.name}.gz" for file in OFFICIAL)
    return f"Put the four files ({names}) into {root / 'FashionMNIST' / 'raw'}"
