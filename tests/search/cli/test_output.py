"""What a command prints and writes: no result is lost for a character, and nothing is replaced that is no file."""

import json
import os
import subprocess
import threading
from pathlib import Path

import pytest

from fmnist.atomic import write_in_place
from tests.search.tiny import NAME, RUN, TOML, command, run_command, surroundings

pytestmark = pytest.mark.process


def printed(folder: Path, *arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        command(*arguments), cwd=folder, env=surroundings(**environment), capture_output=True, timeout=300, check=False
    )


def test_a_terminal_of_few_characters_loses_no_result(tmp_path: Path) -> None:
    (tmp_path / "tiny.toml").write_text(TOML)
    done = printed(tmp_path, *RUN, "--trials", "1", PYTHONIOENCODING="latin-1")
    assert done.returncode == 0, done.stderr.decode("latin-1")
    assert b"Test macro F1" in done.stdout
    assert (tmp_path / "studies" / NAME / "export").is_dir()
    for arguments in (("data", "synthetic"), ("status",), ("report", NAME), ("knobs",)):
        done = printed(tmp_path, *arguments, PYTHONIOENCODING="ascii")
        assert done.returncode == 0, done.stderr.decode("ascii")


def test_json_leaves_no_file_that_nobody_asked_for(tmp_path: Path) -> None:
    done = run_command(tmp_path, "data", "synthetic", "--json")
    assert json.loads(done.stdout)["name"]
    assert list(tmp_path.iterdir()) == []
    done = run_command(tmp_path, "data", "synthetic", "--json", "--sheet", "sheet.png")
    assert json.loads(done.stdout)["name"]
    assert [path.name for path in tmp_path.iterdir()] == ["sheet.png"]


@pytest.mark.parametrize(("option", "target"), [("--sheet", "."), ("--sheet", "folder"), ("--save", "file")])
def test_a_target_of_the_wrong_kind_is_refused_cleanly(option: str, target: str, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("mine")
    done = run_command(tmp_path, "data", "synthetic", option, target)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert (tmp_path / "file").read_text() == "mine"


def test_a_pipe_is_written_to_and_stays_a_pipe(tmp_path: Path) -> None:
    os.mkfifo(pipe := tmp_path / "pipe")
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()))
    reader.start()
    write_in_place(pipe, b"all of it")
    reader.join()
    assert read == [b"all of it"]
    assert pipe.is_fifo()
