import shutil
import sys
from pathlib import Path

import pytest

from search.cli import main
from tests.search.lists.listed import fill
from tests.search.tiny import TOML, Say


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
