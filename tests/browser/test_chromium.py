"""The choice of the browser, and `make chromium` without one. These tests need no browser."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.browser.find_chromium import NAMES, find_chromium

pytestmark = pytest.mark.process

ROOT = Path(__file__).parents[2]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that is the whole PATH."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CHROMIUM", raising=False)
    return tmp_path


def install(path: Path, script: str = "") -> str:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


def test_a_named_browser_is_preferred_to_installed_ones(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_chromium() is None
    for name in reversed(NAMES):
        assert find_chromium() != install(folder / name)
        assert find_chromium() == str(folder / name)
    named = install(folder / "named")
    monkeypatch.setenv("CHROMIUM", named)
    assert find_chromium() == named
    monkeypatch.setenv("CHROMIUM", str(folder / "absent"))
    assert find_chromium() is None


def make_chromium(folder: Path, apt: str) -> tuple[int, list[str], str]:
    """Run `make chromium` with this script as apt-get; return the exit code, apt-get's arguments, and stderr."""
    install(folder / "apt-get", f'echo "$@" >> "{folder}/arguments"\n{apt}')
    install(folder / "sudo", '"$@"')
    install(folder / "id", "echo 0")
    (folder / "arguments").touch()
    done = subprocess.run(
        [MAKE, "-s", "chromium", f"PYTHON={sys.executable}"],
        cwd=ROOT,
        env=os.environ | {"MAKEFLAGS": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, (folder / "arguments").read_text().splitlines(), done.stderr


MAKE = shutil.which("make") or "make"  # before a test changes PATH
INSTALLED = ["update -q", "install -y -q chromium"]


@pytest.mark.process
@pytest.mark.parametrize("name", NAMES)
def test_make_installs_nothing_if_there_is_a_browser(folder: Path, name: str) -> None:
    install(folder / name)
    assert make_chromium(folder, "exit 1") == (0, [], "")


@pytest.mark.process
def test_make_installs_the_debian_package_if_there_is_none(folder: Path) -> None:
    browser = folder / "chromium"
    code, calls, errors = make_chromium(
        folder, f'if [ "$1" = install ]; then : > "{browser}"; /bin/chmod +x "{browser}"; fi'
    )
    assert (code, calls, errors) == (0, INSTALLED, "")


@pytest.mark.process
@pytest.mark.parametrize(("apt", "expected"), [("exit 1", INSTALLED[:1]), ("exit 0", INSTALLED)])
def test_make_states_what_to_install_if_it_fails(folder: Path, apt: str, expected: list[str]) -> None:
    code, calls, errors = make_chromium(folder, apt)
    assert (code != 0, calls) == (True, expected)
    assert errors.startswith(
        "The browser tests need Chromium, and it could not be installed: install the package chromium"
    )


@pytest.mark.process
def test_make_installs_nothing_if_the_named_browser_is_missing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHROMIUM", "/nowhere/chromium")
    code, calls, errors = make_chromium(folder, "exit 0")
    assert (code != 0, calls) == (True, [])
    assert "there is none at /nowhere/chromium." in errors
