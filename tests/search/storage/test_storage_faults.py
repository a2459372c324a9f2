"""A storage that is unavailable for a while loses nothing; one that stays unavailable is given up."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState

from search.errors import StorageLostError
from search.job.search import put_back
from tests.search.storage.faults import Faulty, Watched, faulty, fill, open_watched, remount, small_disk
from tests.search.storage.test_own_trials import STEPS, act

LOCK = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
print("locked", flush=True)
sys.stdin.readline()
connection.rollback()
print("free", flush=True)
sys.stdin.read()  # until it is killed: to close the database would lock it once more
"""


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/trials.db"


@contextmanager
def locked_by_another_process(url: str) -> Iterator[Callable[[], None]]:
    """The database is locked until what is yielded is called, or the block ends."""
    command = [sys.executable, "-c", LOCK, url.removeprefix("sqlite:///")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdin is not None
        assert other.stdout is not None
        assert other.stdout.readline() == "locked\n"

        def free() -> None:
            assert other.stdin is not None
            assert other.stdout is not None
            other.stdin.write("\n")
            other.stdin.flush()
            assert other.stdout.readline() == "free\n"

        try:
            yield free
        finally:
            other.kill()


def trials_in(url: str) -> list[FrozenTrial]:
    return optuna.load_study(study_name="tiny", storage=RDBStorage(url)).get_trials()


@pytest.mark.process
def test_a_database_locked_by_another_process_is_written_once_it_is_free(url: str) -> None:
    watched = open_watched(url)
    trial = watched.study.optuna.ask()
    with locked_by_another_process(url) as free:
        watched.clock.at_each_sleep = lambda number: free() if number == 3 else None
        value = trial.suggest_float("a", 0, 1)
        trial.report(0.5, step=1)
        assert watched.clock.sleeps == 3
    (found,) = trials_in(url)
    assert (found.params, found.intermediate_values) == ({"a": value}, {1: 0.5})
    assert watched.told == [
        "The storage does not answer: database is locked. Waiting up to 1 min; trainings continue.",
        "The storage answers again after 1 s; nothing is lost.",
    ]


@pytest.mark.process
def test_a_trial_is_asked_for_once_the_database_is_free(url: str) -> None:
    watched = open_watched(url)
    with locked_by_another_process(url) as free:
        watched.clock.at_each_sleep = lambda number: free() if number == 2 else None
        assert watched.study.optuna.ask().number == 0
    assert [trial.state for trial in trials_in(url)] == [TrialState.RUNNING]


@pytest.mark.process
def test_a_database_that_stays_locked_is_given_up_and_not_asked_again(url: str) -> None:
    watched = open_watched(url, seconds=20)
    first, second = watched.study.optuna.ask(), watched.study.optuna.ask()
    first.suggest_float("a", 0, 1)
    with locked_by_another_process(url):
        for write in (
            lambda: first.report(0.5, step=1),
            lambda: second.set_user_attr("curve", [0.5]),
            lambda: watched.study.optuna.tell(second, 0.7),
            lambda: watched.study.optuna.set_user_attr("timing", {"search": 3.5}),
            lambda: put_back(watched.study),
            watched.study.optuna.ask,
        ):
            with pytest.raises(StorageLostError, match=r"was lost: database is locked\. When it is back, run the same"):
                write()
        assert watched.clock.now == 20
    assert [(trial.state, trial.params) for trial in trials_in(url)] == [(TrialState.RUNNING, {})] * 2
    with pytest.raises(StorageLostError):
        first.report(0.5, step=1)


@pytest.mark.process
def test_a_full_disk_that_is_given_room_takes_all_that_waited(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk:
        url = f"sqlite:///{disk}/trials.db"
        watched = open_watched(url)
        trial = watched.study.optuna.ask()
        filling = fill(disk)
        watched.clock.at_each_sleep = lambda _: filling.unlink(missing_ok=True)
        for number in range(200):  # more than fits into the pages that the database has already
            trial.set_user_attr(f"note {number}", "x" * 2000)
        assert watched.clock.sleeps == 1
        assert watched.told[0].startswith(
            "The storage does not answer: d"
        )  # "database or disk is full", or an I/O error
        assert len(trials_in(url)[0].user_attrs) == 200
        watched.storage._backend.engine.dispose()


@pytest.mark.process
def test_a_file_system_that_is_read_only_for_a_while_is_written_again(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk:
        url = f"sqlite:///{disk}/trials.db"
        watched = open_watched(url)
        trial = watched.study.optuna.ask()
        watched.storage._backend.engine.dispose()  # a file system with files open for writing cannot be made read-only
        remount(disk, "ro")
        watched.clock.at_each_sleep = lambda number: remount(disk, "rw") if number == 2 else None
        trial.report(0.5, step=1)
        assert watched.told[0].startswith(
            "The storage does not answer: unable to open database file"
        )  # a WAL file cannot be made
        assert trials_in(url)[0].intermediate_values == {1: 0.5}
        watched.storage._backend.engine.dispose()


def test_a_database_that_is_destroyed_under_a_run_is_not_waited_for(url: str) -> None:
    watched = open_watched(url)
    trial = watched.study.optuna.ask()
    watched.storage._backend.engine.dispose()
    Path(url.removeprefix("sqlite:///")).write_bytes(b"no database at all " * 1000)
    with pytest.raises(StorageLostError, match="was lost: file is not a database"):
        trial.report(0.5, step=1)
    assert watched.clock.sleeps == 0


def test_a_wrong_value_is_no_fault_of_the_storage(url: str) -> None:
    watched = open_watched(url)
    trial = watched.study.optuna.ask()
    with pytest.raises(TypeError):
        trial.set_user_attr("a set", {1, 2})
    trial.set_user_attr("a list", [1, 2])
    assert watched.told == []


def counted_calls(url: str, act_on: Callable[[Watched], object]) -> int:
    watched, faults = open_watched(url), Faulty()
    with faulty(watched.storage._backend, faults):
        act_on(watched)
    return faults.calls


@pytest.mark.slow
def test_an_ask_whose_answer_is_lost_at_any_moment_leaves_one_trial(tmp_path: Path) -> None:
    calls = counted_calls(f"sqlite:///{tmp_path}/count.db", lambda watched: watched.study.optuna.ask())
    assert calls > 4
    for number in range(calls):
        for when in ("before", "after"):
            url = f"sqlite:///{tmp_path}/{number}-{when}.db"
            watched = open_watched(url)
            with faulty(watched.storage._backend, Faulty({number: when})):
                trial = watched.study.optuna.ask()
                trial.report(0.5, step=1)
            (found,) = trials_in(url)
            assert (found.state, found.number, found.intermediate_values) == (
                TrialState.RUNNING,
                trial.number,
                {1: 0.5},
            )


@pytest.mark.slow
def test_a_waiting_trial_whose_begin_is_acknowledged_late_is_taken_all_the_same(tmp_path: Path) -> None:
    def ask(watched: Watched) -> None:
        assert watched.study.optuna.ask().suggest_float("a", 0, 1) == 0.25

    def with_one_waiting(url: str) -> str:
        open_watched(url).study.optuna.enqueue_trial({"a": 0.25})
        return url

    calls = counted_calls(with_one_waiting(f"sqlite:///{tmp_path}/count.db"), ask)
    for number in range(calls):
        url = with_one_waiting(f"sqlite:///{tmp_path}/{number}.db")
        watched = open_watched(url)
        with faulty(watched.storage._backend, Faulty({number: "after"})):
            ask(watched)
        assert [trial.state for trial in trials_in(url)] == [TrialState.RUNNING]


def plain(trials: list[FrozenTrial]) -> list[dict[str, Any]]:
    """What two runs of the same steps have in common: all but the times."""
    keys = ("number", "state", "values", "params", "distributions", "user_attrs", "system_attrs", "intermediate_values")
    return [{key: getattr(trial, key) for key in keys} for trial in trials]


def take_steps(watched: Watched, trials: list[list[tuple[str, str | int]]], faults: dict[int, str]) -> None:
    """Ask for all trials, take their steps and end them, with faults that pass."""
    with faulty(watched.storage._backend, Faulty(faults)):
        running = [watched.study.optuna.ask() for _ in trials]
        for trial, steps in zip(running, trials, strict=True):
            act(trial, steps)
        watched.study.optuna.set_user_attr("seen", [trial.number for trial in running])
        watched.storage.append_study_user_attr(watched.study.id, "openings", {"by": "final"})
        for trial in running:
            state = TrialState.COMPLETE if trial.number % 2 == 0 else TrialState.PRUNED
            watched.study.optuna.tell(trial, 0.5 if state == TrialState.COMPLETE else None, state=state)
        assert [trial.state.is_finished() for trial in watched.study.optuna.get_trials()] == [True] * len(trials)


@pytest.mark.slow
@given(
    trials=st.lists(STEPS, min_size=1, max_size=3),
    faults=st.dictionaries(st.integers(0, 150), st.sampled_from(["before", "after"]), max_size=10),
)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_fails_for_a_while_the_database_ends_as_that_of_an_undisturbed_run(
    trials: list[list[tuple[str, str | int]]], faults: dict[int, str], tmp_path_factory: Any
) -> None:
    folder = tmp_path_factory.mktemp("faults")
    urls = [f"sqlite:///{folder}/{name}.db" for name in ("quiet", "disturbed")]
    take_steps(open_watched(urls[0]), trials, {})
    watched = open_watched(urls[1])
    take_steps(watched, trials, faults)
    read_in_memory = plain(watched.study.optuna.get_trials())
    quiet, disturbed = (optuna.load_study(study_name="tiny", storage=RDBStorage(url)) for url in urls)
    assert plain(disturbed.get_trials()) == plain(quiet.get_trials())
    assert read_in_memory == plain(quiet.get_trials())
    (opening,) = disturbed.user_attrs["openings"]
    assert opening["by"] == "final"
    assert disturbed.user_attrs["seen"] == quiet.user_attrs["seen"]
