import secrets
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import filelock
import pytest

from search.cli.main import main
from tests.search.report.lists.listed import fill
from tests.search.tiny import RUN, TOML, Say, made_once, run_command

TOKEN = secrets.token_hex(32)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "whole" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.process)
        if "ray_alone" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.ray)


@pytest.fixture
def say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Say:
    """Runs the command in a folder of its own: exit code, output, errors."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.delenv("FMNIST_DATA", raising=False)
    (tmp_path / "tiny.toml").write_text(TOML)

    def run(*arguments: str | Path) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["fmnist-search", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        captured = capsys.readouterr()
        return int(ended.value.code or 0), captured.out, captured.err

    return run


@pytest.fixture
def ray_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory, worker_id: str
) -> Iterator[None]:
    """One test on Ray at a time, in whichever test process: "auto" finds any cluster of the machine."""
    root = tmp_path_factory.getbasetemp()
    monkeypatch.setenv("RAY_AUTH_TOKEN", TOKEN)  # else Ray writes one into the home; a process reads it once
    with filelock.FileLock((root if worker_id == "master" else root.parent) / "ray.lock"):
        yield


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """A folder in which the command ran once to its end; no test writes to it."""
    return made_once(tmp_path_factory, worker_id, "whole", _run_tiny)


def _run_tiny(folder: Path) -> None:
    (folder / "tiny.toml").write_text(TOML)
    done = run_command(folder, *RUN)
    assert done.returncode == 0, done.stdout + done.stderr
    (folder / "errors.txt").write_text(done.stderr)
    (folder / "output.txt").write_text(done.stdout)


@pytest.fixture
def finished(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy to work in, which is the current folder."""
    shutil.copytree(whole, tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")
    return tmp_path / "copy"


@pytest.fixture(scope="session")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the studies of listed.py, to be copied."""
    folder = tmp_path_factory.mktemp("listed")
    fill(folder)
    return folder / "studies"


@pytest.fixture
def listed(say: Say, tmp_path: Path, filled: Path) -> Say:
    """Runs the command where those studies are."""
    shutil.copytree(filled, tmp_path / "studies")
    return say
