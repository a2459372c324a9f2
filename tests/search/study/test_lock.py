import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from optuna.storages import RDBStorage

from search.errors import AnotherRunError, SearchError
from search.storage.opening import open_storage
from search.storage.own_trials import OwnTrials
from search.study.environment import now
from search.study.holder import Holder, this_process
from search.study.lock import ABOUT, noted_run, require_not_ending, sole_run
from search.study.study import Study
from search.study.timing import timed
from tests.search.tiny import (
    NAME,
    RUN,
    TOML,
    in_database,
    run_command,
    start_command,
    surroundings,
    tiny_spec,
    wait_for_line,
)

HOLD = """
import sys
from pathlib import Path
from search.study.lock import sole_run
from search.storage.opening import open_storage
from search.storage.own_trials import OwnTrials
with sole_run(Path(sys.argv[1]), "mine", *(open_storage(url, create=True) for url in sys.argv[2:])):
    print("held", flush=True)
    sys.stdin.read()
"""
END = """
import sys
from search.errors import AnotherRunError
from search.study.lock import noted_run
from search.storage.opening import open_storage
from search.storage.own_trials import OwnTrials
from search.study.study import Study, load_study
try:
    with noted_run(load_study(open_storage(f"sqlite:///{sys.argv[1]}/studies/fmnist.db", create=True), "tiny")):
        print("held", flush=True)
        sys.stdin.read()
except AnotherRunError as error:
    print(error, flush=True)
"""
FORK = """
import os
from search.study.holder import is_this_process, this_process
this = this_process()
if child := os.fork():
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0, "the child takes itself for its parent"
    assert is_this_process(this) and is_this_process(this_process())
else:
    os._exit(int(is_this_process(this) or not is_this_process(this_process())))
"""
OTHER_NAMESPACE = (
    "unshare",
    "--user",
    "--map-root-user",
    "--pid",
    "--fork",
    "--mount-proc",
    "--kill-child",
)  # as a container has


def started(program: str, *arguments: str, within: tuple[str, ...] = ()) -> "tuple[subprocess.Popen[str], str]":
    """Another process, and its first line."""
    process = subprocess.Popen(
        [*within, sys.executable, "-c", program, *arguments],
        env=surroundings(PYTHONPATH=str(Path(__file__).parents[3])),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    return process, process.stdout.readline()


def holder(folder: Path, *storage: str) -> "subprocess.Popen[str]":
    """Another process that holds the study."""
    process, told = started(HOLD, str(folder), *storage)
    assert told == "held\n"
    return process


@pytest.mark.process
def test_a_second_run_is_refused_with_host_and_process_of_the_first(tmp_path: Path) -> None:
    with holder(tmp_path) as first:
        told = f"at work on the study 'mine': process {first.pid} on {socket.gethostname()}, since 20"
        with pytest.raises(SearchError, match=told), sole_run(tmp_path, "mine"):
            pytest.fail("the study is held")
        first.kill()


@pytest.mark.process
def test_the_lock_of_a_killed_run_holds_nobody_up(tmp_path: Path) -> None:
    with holder(tmp_path) as first:
        first.kill()
    assert (tmp_path / ABOUT).exists()  # it could not clear up
    with sole_run(tmp_path, "mine"):
        assert json.loads((tmp_path / ABOUT).read_text())["process"] == os.getpid()
    assert not (tmp_path / ABOUT).exists()


@pytest.mark.process
def test_a_lock_without_its_note_still_holds(tmp_path: Path) -> None:
    with holder(tmp_path) as first:
        for text in ("", "{}", "[]", "null"):
            (tmp_path / ABOUT).write_text(text)
            with pytest.raises(SearchError, match="it has just started"), sole_run(tmp_path, "mine"):
                pytest.fail("the study is held")
        first.kill()


def test_a_folder_that_cannot_be_made_is_one_clean_error(tmp_path: Path) -> None:
    taken = tmp_path / "fmnist.db"
    taken.touch()
    told = r"needs the folder '.*fmnist\.db': File exists\. Give --name"
    with pytest.raises(SearchError, match=told), sole_run(taken, "fmnist.db"):
        pytest.fail("there is no folder")


@pytest.mark.process
def test_one_file_is_held_for_a_study_whatever_folders_its_runs_are_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, two = tmp_path / "trials.db", tmp_path / "two"
    (tmp_path / "link.db").symlink_to(file)
    monkeypatch.chdir(tmp_path)
    with holder(tmp_path / "one", f"sqlite:///{file}") as first:
        told = f"at work on the study 'mine': process {first.pid} on {socket.gethostname()}, since 20"
        for url in (f"sqlite:///{file}", "sqlite:///trials.db", "sqlite:///link.db"):
            with pytest.raises(SearchError, match=told), sole_run(two, "mine", open_storage(url, create=False)):
                pytest.fail("the study is held")
        assert not two.exists()
        storage = open_storage(f"sqlite:///{file}", create=False)
        with (
            sole_run(two, "mine.too", storage),
            sole_run(two / "longest", "x" * 100, storage),
        ):  # other studies in the same file
            pass
        first.kill()
    with sole_run(two, "mine", storage):  # one that was killed holds nobody up
        pass
    assert not list(tmp_path.glob("*.json"))


def test_a_storage_in_memory_needs_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with (
        sole_run(tmp_path / "one", "mine", OwnTrials(RDBStorage("sqlite://"))),
        sole_run(tmp_path / "two", "mine", OwnTrials(RDBStorage("sqlite://"))),
    ):
        assert {path.name for path in tmp_path.iterdir()} == {"one", "two"}


def test_a_lock_that_cannot_be_made_beside_the_database_is_one_clean_error(tmp_path: Path) -> None:
    storage = open_storage(f"sqlite:///{tmp_path}/trials.db", create=True)
    (tmp_path / "trials.db-run@mine.lock").mkdir()
    told = f"The study 'mine' needs the folder '{tmp_path}': Is a directory. .*--storage"
    with pytest.raises(SearchError, match=told), sole_run(tmp_path / "one", "mine", storage):
        pytest.fail("there is no lock")


def test_a_note_that_cannot_be_taken_away_hides_no_error(tmp_path: Path) -> None:
    def fail() -> None:
        (tmp_path / ABOUT).unlink()
        (tmp_path / ABOUT).mkdir()
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), sole_run(tmp_path, "mine"):
        fail()


@pytest.mark.slow
def test_the_same_storage_given_in_two_folders_is_searched_by_one_run(tmp_path: Path) -> None:
    folders = tmp_path / "one", tmp_path / "two"
    for folder in folders:
        folder.mkdir()
        (folder / "tiny.toml").write_text(TOML)
    storage = ("--storage", f"sqlite:///{tmp_path}/fmnist.db")
    first = start_command(folders[0], *RUN, *storage)
    try:
        wait_for_line(first, "epoch 1/")
        with closing(sqlite3.connect(tmp_path / "fmnist.db", timeout=60, isolation_level=None)) as database:
            database.execute("BEGIN EXCLUSIVE")  # so that the first run is not stopped within a transaction
            os.kill(first.pid, signal.SIGSTOP)
        second = run_command(folders[1], *RUN, *storage)
    finally:
        os.killpg(first.pid, signal.SIGKILL)
        first.communicate()
    assert second.returncode == 2, second.stdout + second.stderr
    assert f"Another run is at work on the study '{NAME}': process {first.pid} on " in second.stderr
    assert [path.name for path in folders[1].iterdir()] == ["tiny.toml"]


def noted(folder: Path, **changes: object) -> Study:
    """A study that another run works on."""
    study = in_database(folder, tiny_spec())
    about = {"host": "elsewhere", "process": 7, "since": now(), "seen": now()} | changes
    study.optuna.set_user_attr(Holder.KEY, about)
    return study


def test_a_run_on_another_machine_is_refused_while_the_first_shows_itself(tmp_path: Path) -> None:
    study = noted(tmp_path)
    with (
        pytest.raises(AnotherRunError, match=r"The search is over: process 7 on elsewhere, since 20"),
        noted_run(study),
    ):
        pytest.fail("the study is held")
    with pytest.raises(SearchError, match=r"process 7 on elsewhere, since 20.* its hold ends in 1"):
        require_not_ending(study)


@pytest.mark.process
@pytest.mark.parametrize(
    "changes",
    [
        lambda: {"is_over": True},
        lambda: {"seen": "2026-01-01T00:00:00+00:00"},
        lambda: (
            this_process().model_dump() | {"token": "another", "process": 2**22 + 1}
        ),  # no process has such a number
        lambda: (
            this_process().model_dump() | {"token": "another"}
        ),  # it had the number that this one has: a container that was started again
        lambda: this_process().model_dump(),
    ],
)
def test_a_run_that_is_over_or_dead_holds_nobody_up(tmp_path: Path, changes: Callable[[], dict[str, object]]) -> None:
    study = noted(tmp_path, **changes())
    with noted_run(study):
        holder = study.read(Holder)
        assert holder is not None
        assert (holder.host, holder.process, holder.is_over) == (socket.gethostname(), os.getpid(), False)
    holder = study.read(Holder)
    assert holder is not None
    assert holder.is_over


@pytest.mark.parametrize("is_taken", [False, True])
@pytest.mark.parametrize("pid_space", [None, "another boot pid:[4026531836]"])  # None: a record of an earlier version
def test_a_number_of_a_process_on_another_machine_of_the_same_name_says_nothing(
    tmp_path: Path, is_taken: bool, pid_space: str | None
) -> None:
    process = os.getpid() if is_taken else 2**22 + 1  # which no process has
    study = noted(tmp_path, host=socket.gethostname(), process=process, pid_space=pid_space)
    with pytest.raises(AnotherRunError, match=f"process {process} on "), noted_run(study):
        pytest.fail("the study is held")


@pytest.fixture
def other_namespace() -> tuple[str, ...]:
    done = subprocess.run([*OTHER_NAMESPACE, "true"], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no namespace can be made here: {done.stderr.strip()}")
    return OTHER_NAMESPACE


@pytest.mark.process
def test_a_container_of_the_same_host_does_not_take_a_run_for_dead(
    tmp_path: Path, other_namespace: tuple[str, ...]
) -> None:
    with noted_run(in_database(tmp_path, tiny_spec())):
        other, told = started(END, str(tmp_path), within=other_namespace)  # where no process has the number of this one
        other.communicate()
    assert told.startswith(f"The search is over: process {os.getpid()} on {socket.gethostname()}, since 20")


@pytest.mark.process
def test_two_containers_of_the_same_host_do_not_take_each_other_for_themselves(
    tmp_path: Path, other_namespace: tuple[str, ...]
) -> None:
    in_database(tmp_path, tiny_spec())
    (first, held), (second, told) = (started(END, str(tmp_path), within=other_namespace) for _ in range(2))
    for process in (first, second):
        process.communicate()
    assert held == "held\n"
    assert told.startswith(f"The search is over: process 1 on {socket.gethostname()}, since 20")


@pytest.mark.process
def test_a_forked_process_is_another_one() -> None:
    done = subprocess.run([sys.executable, "-c", FORK], env=surroundings(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_run_shows_itself_while_it_trains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("search.study.timing.NOTE_SECONDS", 0.0)
    study = in_database(tmp_path, tiny_spec())
    with noted_run(study):
        mine = study.read(Holder)
        assert mine is not None
        study.write(mine.model_copy(update={"seen": "2026-01-01T00:00:00+00:00"}))
        with timed(study, "search") as note_time:
            note_time()
            again = study.read(Holder)
    assert again is not None
    assert again.seen >= mine.seen
