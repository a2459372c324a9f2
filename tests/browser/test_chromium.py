"""Which browser is taken."""

from pathlib import Path

import pytest

from tests.browser.chromium import NAMES, find_chromium


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CHROMIUM", raising=False)
    return tmp_path


def install(path: Path) -> str:
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return str(path)


def test_the_one_that_is_named_comes_before_those_that_are_installed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_chromium() is None
    for name in reversed(NAMES):
        assert find_chromium() != install(folder / name)
        assert find_chromium() == str(folder / name)
    mine = install(folder / "mine")
    monkeypatch.setenv("CHROMIUM", mine)
    assert find_chromium() == mine
    monkeypatch.setenv("CHROMIUM", str(folder / "absent"))
    assert find_chromium() is None
