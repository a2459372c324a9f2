import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import optuna
import pytest

from search.environment import now
from search.errors import AnotherRunError, SearchError
from search.lock import ABOUT, noted_run, require_nobody_ends, sole_run
from search.records import Holder
from search.study import HOLDER, read, timed, write
from tests.search.tiny import in_database, surroundings, tiny_spec

HOLD = """
import sys
from pathlib import Path
from search.lock import sole_run, require_nobody_ends
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
    assert (tmp_path / ABOUT).exists()  # it could not clear up
    with sole_run(tmp_path, "mine"):
        assert json.loads((tmp_path / ABOUT).read_text())["process"] == os.getpid()
    assert not (tmp_path / ABOUT).exists()


def test_a_lock_without_its_note_still_holds(tmp_path: Path) -> None:
    with holder(tmp_path) as first:
        for text in ("", "{}", "[]", "null"):
            (tmp_path / ABOUT).write_text(text)
            with pytest.raises(SearchError, match="it began this very moment"), sole_run(tmp_path, "mine"):
                pytest.fail("the study is held")
        first.kill()


def test_a_folder_that_cannot_be_made_is_one_clean_error(tmp_path: Path) -> None:
    taken = tmp_path / "fmnist.db"
    taken.touch()
    told = r"needs the folder '.*fmnist\.db': File exists\. Give --name"
    with pytest.raises(SearchError, match=told), sole_run(taken, "fmnist.db"):
        pytest.fail("there is no folder")


def noted(folder: Path, **changes: object) -> optuna.Study:
    """A study that another run works on."""
    study = in_database(folder, tiny_spec())
    about = {"host": "elsewhere", "process": 7, "since": now(), "seen": now()} | changes
    study.set_user_attr(HOLDER, about)
    return study


def test_a_run_on_another_machine_is_refused_while_the_first_shows_itself(tmp_path: Path) -> None:
    study = noted(tmp_path)
    with pytest.raises(AnotherRunError, match=r"The search is over: process 7 on elsewhere, since 20"), noted_run(study):
        pytest.fail("the study is held")
    with pytest.raises(SearchError, match=r"process 7 on elsewhere, since 20.* its hold ends in 1"):
        require_nobody_ends(study)


@pytest.mark.parametrize(
    "changes",
    [
        {"is_over": True},
        {"seen": "2026-01-01T00:00:00+00:00"},
        {"host": socket.gethostname(), "process": 2**22 + 1},  # no process has such a number
        {"host": socket.gethostname(), "process": os.getpid()},
    ],
)
def test_a_run_that_is_over_or_dead_holds_nobody_up(tmp_path: Path, changes: dict[str, object]) -> None:
    study = noted(tmp_path, **changes)
    with noted_run(study):
        holder = read(study, HOLDER, Holder)
        assert holder is not None
        assert (holder.host, holder.process, holder.is_over) == (socket.gethostname(), os.getpid(), False)
    holder = read(study, HOLDER, Holder)
    assert holder is not None
    assert holder.is_over


def test_a_run_shows_itself_while_it_trains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("search.study.NOTE_SECONDS", 0.0)
    study = in_database(tmp_path, tiny_spec())
    with noted_run(study):
        mine = read(study, HOLDER, Holder)
        assert mine is not None
        write(study, HOLDER, mine.model_copy(update={"seen": "2026-01-01T00:00:00+00:00"}))
        with timed(study, "search") as note_time:
            note_time()
            again = read(study, HOLDER, Holder)
    assert again is not None
    assert again.seen >= mine.seen
