"""Cached data are reused exactly if the files and the code that reads them are the same."""

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


def test_pictures_with_the_same_names_sizes_and_times_are_told_apart_by_content(tmp_path: Path) -> None:
    for place, pixels in (("a", TRAIN.pixels), ("b", TRAIN.pixels[:, ::-1])):
        folder = write_folder(tmp_path / place, replace(TRAIN, pixels=pixels))
        for path in folder.rglob("*.png"):
            path.write_bytes(path.read_bytes().ljust(2_000, b"x"))
            os.utime(path, (1_700_000_000, 1_700_000_000))
    fingerprints = []
    for place in ("a", "b"):
        (tmp_path / place).rename(tmp_path / "shop")
        fingerprints.append(fingerprint(find_source(str(tmp_path / "shop"), announce=lambda _: None).train()))
        (tmp_path / "shop").rename(tmp_path / place)
    assert fingerprints[0] != fingerprints[1]


@pytest.fixture
def code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file in place of the package's data code, which a test may change."""
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


def test_the_cache_depends_on_the_code_but_not_on_its_comments_and_layout(code: Path) -> None:
    before = place()
    code.write_text('"""Reads it."""\n\n# A comment.\ndef read() -> int:\n    """A one."""\n    return (1)  # one\n')
    assert place() == before
    code.write_text('"""Reads."""\n\n\ndef read() -> int:\n    """One."""\n    return 2\n')
    assert place() != before


@pytest.mark.usefixtures("code")
@pytest.mark.parametrize("library", cache.DECODERS)
def test_the_cache_depends_on_the_version_of_each_decoding_library(
    library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = place()
    monkeypatch.setattr(cache, "version", lambda name: "99.9" if name == library else metadata.version(name))
    assert place() != before


def test_concurrent_calls_fill_a_cached_folder_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    cached_folder("read", "computes the digest of the code", lambda folder: (folder / "made").touch())
    barrier, made_folders = Barrier(8), []

    def make(folder: Path) -> None:
        made_folders.append(folder)
        (folder / "made").write_bytes(bytes(1_000_000))

    def call(_: int) -> Path:
        barrier.wait()
        return cached_folder("read", "files", make)

    with ThreadPoolExecutor(8) as pool:
        places = set(pool.map(call, range(8)))
    assert (len(places), len(made_folders)) == (1, 1)


def test_a_digest_does_not_depend_on_the_order_of_keys() -> None:
    assert (
        digest({"Bag": "bag", "Shirt": "shirt"})
        == digest({"Shirt": "shirt", "Bag": "bag"})
        != digest({"Bag": "shirt", "Shirt": "bag"})
    )


@pytest.mark.skipif(sys.platform != "linux", reason="needs a file of Linux that cannot be read from its start")
def test_the_digest_of_an_unreadable_file_is_the_reason(tmp_path: Path) -> None:
    (tmp_path / "whole").write_bytes(b"x")
    memory = Path("/proc/self/mem")
    assert file_digests([tmp_path / "whole", tmp_path / "gone", memory]) == [
        file_digest(tmp_path / "whole"),
        "no file",
        "error 5",
    ]


def test_a_folder_with_unreadable_files_has_a_fingerprint(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "a", TRAIN.take(np.arange(4)))
    whole = fingerprint_folder(folder)
    (folder / "0" / "gone.png").symlink_to(tmp_path / "nowhere")
    os.mkfifo(folder / "0" / "pipe.png")
    assert fingerprint_folder(folder) not in ("", whole)
