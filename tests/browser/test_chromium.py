"""Which browser is taken, and what `make chromium` does where there is none. These tests need no browser."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.browser.find_chromium import NAMES, find_chromium

ROOT = Path(__file__).parents[2]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """All that the command line finds: nothing yet."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CHROMIUM", raising=False)
    return tmp_path


def install(path: Path, script: str = "") -> str:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


def test_the_one_that_is_named_comes_before_those_that_are_installed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert find_chromium() is None
    for name in reversed(NAMES):
        assert find_chromium() != install(folder / name)
        assert find_chromium() == str(folder / name)
    mine = install(folder / "mine")
    monkeypatch.setenv("CHROMIUM", mine)
    assert find_chromium() == mine
    monkeypatch.setenv("CHROMIUM", str(folder / "absent"))
    assert find_chromium() is None


def make_chromium(folder: Path, apt: str) -> tuple[int, list[str], str]:
    """`make chromium` with that for an apt-get: its exit code, what apt-get was told, and what was said."""
    install(folder / "apt-get", f'echo "$@" >> "{folder}/told"\n{apt}')
    install(folder / "sudo", '"$@"')
    install(folder / "id", "echo 0")
    (folder / "told").touch()
    done = subprocess.run(
        [MAKE, "-s", "chromium", f"PYTHON={sys.executable}"],
        cwd=ROOT,
        env=os.environ | {"MAKEFLAGS": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, (folder / "told").read_text().splitlines(), done.stderr


MAKE = shutil.which("make") or "make"  # before a test hides it
INSTALLED = ["update -q", "install -y -q chromium"]


@pytest.mark.parametrize("name", NAMES)
def test_make_installs_nothing_where_a_browser_is(folder: Path, name: str) -> None:
    install(folder / name)
    assert make_chromium(folder, "exit 1") == (0, [], "")


def test_make_installs_debians_where_there_is_none(folder: Path) -> None:
    browser = folder / "chromium"
    code, told, said = make_chromium(
        folder, f'if [ "$1" = install ]; then : > "{browser}"; /bin/chmod +x "{browser}"; fi'
    )
    assert (code, told, said) == (0, INSTALLED, "")


@pytest.mark.parametrize(("apt", "told"), [("exit 1", INSTALLED[:1]), ("exit 0", INSTALLED)])
def test_make_says_what_to_install_where_it_could_not(folder: Path, apt: str, told: list[str]) -> None:
    code, found, said = make_chromium(folder, apt)
    assert (code != 0, found) == (True, told)
    assert said.startswith(
        "The browser tests need Chromium, and it could not be installed: install the package chromium"
    )


def test_make_installs_none_in_place_of_one_that_is_named_and_absent(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHROMIUM", "/nowhere/chromium")
    code, told, said = make_chromium(folder, "exit 0")
    assert (code != 0, told) == (True, [])
    assert "there is none at /nowhere/chromium." in said
