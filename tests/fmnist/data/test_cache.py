"""What was read once is used again exactly where the files, and what reads them, are the same."""

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from threading import Barrier

import numpy as np
import pytest

from fmnist.data import cache
from fmnist.data.cache import cached_folder, digest, file_digest, file_digests
from fmnist.data.folders import fingerprint_folder
from fmnist.data.sources import find_source, fingerprint
from tests.fmnist.data.forms import TRAIN, write_folder


def test_other_pictures_of_the_same_names_sizes_and_times_are_read_anew(tmp_path: Path) -> None:
    for place, pixels in (("a", TRAIN.pixels), ("b", TRAIN.pixels[:, ::-1])):
        folder = write_folder(tmp_path / place, replace(TRAIN, pixels=pixels))
        for path in folder.rglob("*.png"):
            path.write_bytes(path.read_bytes().ljust(2_000, b"x"))
            os.utime(path, (1_700_000_000, 1_700_000_000))
    seen = []
    for place in ("a", "b"):
        (tmp_path / place).rename(tmp_path / "shop")
        seen.append(fingerprint(find_source(str(tmp_path / "shop"), announce=lambda _: None).train()))
        (tmp_path / "shop").rename(tmp_path / place)
    assert seen[0] != seen[1]


@pytest.fixture
def code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of the package's data code, which a test may change."""
    module = tmp_path / "package" / "reader.py"
    module.parent.mkdir()
    module.write_text('"""Reads."""\n\n\ndef read() -> int:\n    """One."""\n    return 1\n')
    monkeypatch.setattr(cache, "__file__", str(module))
    return module


def place(key: str = "files") -> Path:
    cache._code.cache_clear()
    try:
        return cached_folder("read", key, lambda folder: (folder / "made").touch())
    finally:
        cache._code.cache_clear()


def test_comments_and_layout_of_the_code_count_for_nothing_and_the_code_does(code: Path) -> None:
    before = place()
    code.write_text('"""Reads it."""\n\n# A comment.\ndef read() -> int:\n    """A one."""\n    return (1)  # one\n')
    assert place() == before
    code.write_text('"""Reads."""\n\n\ndef read() -> int:\n    """One."""\n    return 2\n')
    assert place() != before


@pytest.mark.parametrize("library", cache.DECODERS)
def test_another_version_of_a_library_that_decodes_counts(library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before = place()
    monkeypatch.setattr(cache, "version", lambda name: "99.9" if name == library else metadata.version(name))
    assert place() != before


def test_of_many_that_ask_at_once_one_makes_what_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    cached_folder("read", "what makes the digest of the code known", lambda folder: (folder / "made").touch())
    together, makers = Barrier(8), []

    def make(folder: Path) -> None:
        makers.append(folder)
        (folder / "made").write_bytes(bytes(1_000_000))

    def ask(_: int) -> Path:
        together.wait()
        return cached_folder("read", "files", make)

    with ThreadPoolExecutor(8) as pool:
        places = set(pool.map(ask, range(8)))
    assert (len(places), len(makers)) == (1, 1)


def test_the_order_of_what_is_named_is_no_part_of_a_digest() -> None:
    assert (
        digest({"Bag": "bag", "Shirt": "shirt"})
        == digest({"Shirt": "shirt", "Bag": "bag"})
        != digest({"Bag": "shirt", "Shirt": "bag"})
    )


@pytest.mark.skipif(sys.platform != "linux", reason="reads a file of Linux that cannot be read from its start")
def test_files_that_cannot_be_read_have_the_reason_for_a_digest(tmp_path: Path) -> None:
    (tmp_path / "whole").write_bytes(b"x")
    memory = Path("/proc/self/mem")
    assert file_digests([tmp_path / "whole", tmp_path / "gone", memory]) == [
        file_digest(tmp_path / "whole"),
        "no file",
        "error 5",
    ]


def test_a_file_that_cannot_be_read_has_a_fingerprint_too(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "a", TRAIN.take(np.arange(4)))
    whole = fingerprint_folder(folder)
    (folder / "0" / "gone.png").symlink_to(tmp_path / "nowhere")
    os.mkfifo(folder / "0" / "pipe.png")
    assert fingerprint_folder(folder) not in ("", whole)
