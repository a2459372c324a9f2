import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from search.errors import SearchError
from search.lock import HOLDER, sole_run
from tests.search.tiny import surroundings

HOLD = """
import sys
from pathlib import Path
from search.lock import sole_run
with sole_run(Path(sys.argv[1]), "mine"):
    print("held", flush=True)
    sys.stdin.read()
"""


def holder(folder: Path) -> "subprocess.Popen[str]":
    """Another process that holds the study."""
    root = str(Path(__file__).parents[2])
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)],
        env=surroundings(PYTHONPATH=root),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_a_second_run_is_refused_with_host_and_process_of_the_first(tmp_path: Path) -> None:
    with holder(tmp_path) as first:
        told = f"at work on the study 'mine': process {first.pid} on {socket.gethostname()}, since 20"
        with pytest.raises(SearchError, match=told), sole_run(tmp_path, "mine"):
            pytest.fail("the study is held")
        first.kill()


def test_the_lock_of_a_killed_run_holds_nobody_up(tmp_path: Path) -> None:
    with holder(tmp_path) as first:
        first.kill()
    assert (tmp_path / HOLDER).exists()  # it could not clear up
    with sole_run(tmp_path, "mine"):
        assert json.loads((tmp_path / HOLDER).read_text())["process"] == os.getpid()
    assert not (tmp_path / HOLDER).exists()


def test_a_lock_without_its_note_still_holds(tmp_path: Path) -> None:
    with holder(tmp_path) as first:
        for text in ("", "{}", "[]", "null"):
            (tmp_path / HOLDER).write_text(text)
            with pytest.raises(SearchError, match="it began this very moment"), sole_run(tmp_path, "mine"):
                pytest.fail("the study is held")
        first.kill()


def test_a_folder_that_cannot_be_made_is_one_clean_error(tmp_path: Path) -> None:
    taken = tmp_path / "fmnist.db"
    taken.touch()
    told = r"needs the folder '.*fmnist\.db': File exists\. Give --name"
    with pytest.raises(SearchError, match=told), sole_run(taken, "fmnist.db"):
        pytest.fail("there is no folder")
