"""A storage that is away for a while loses nothing; one that does not come back leaves its writes in the journal."""

import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import optuna
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState

from search.errors import SearchError, StorageLostError
from search.job.search import put_back
from search.storage.journal import Journal, read_journal
from search.storage.opening import open_storage
from search.storage.own_trials import OwnTrials
from search.storage.patience import Patience
from search.storage.recovery import identity, take_up
from tests.search.storage.faults import Clock, Faulty, Watched, faulty, fill, open_watched, remount, small_disk
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


@contextmanager
def journal_of(watched: Watched, path: Path) -> Iterator[Journal]:
    name = identity(watched.storage, watched.study.optuna._study_id)
    with Journal(path, study="tiny", identity=name) as journal:
        watched.storage.overflow.journal = journal
        yield journal


def trials_in(url: str) -> list[FrozenTrial]:
    return optuna.load_study(study_name="tiny", storage=RDBStorage(url)).get_trials()


def recover(url: str, path: Path) -> None:
    """As the next run does: in another OwnTrials, of a storage opened anew."""
    take_up(path, "tiny", OwnTrials(open_storage(url, create=False), Patience(0)))
    assert not path.exists()


@pytest.mark.process
def test_a_database_locked_by_another_process_is_written_once_it_is_free(url: str, tmp_path: Path) -> None:
    watched = open_watched(url)
    trial = watched.study.optuna.ask()
    with journal_of(watched, tmp_path / "journal.jsonl") as journal, locked_by_another_process(url) as free:
        waiting: list[int] = []

        def at_each_sleep(number: int) -> None:
            waiting.append(len(journal))
            if number == 3:
                free()

        watched.clock.at_each_sleep = at_each_sleep
        value = trial.suggest_float("a", 0, 1)
        trial.report(0.5, step=1)
        assert waiting == [2, 2, 2], "the parameter and the value stand in the journal while they wait"
        assert len(journal) == 0
    (found,) = trials_in(url)
    assert (found.params, found.intermediate_values) == ({"a": value}, {1: 0.5})
    assert watched.told == [
        "The storage does not answer: database is locked. Waiting up to 1 min; trainings continue.",
        "The storage answers again after 1 s; nothing is lost.",
    ]
    assert not (tmp_path / "journal.jsonl").exists()


@pytest.mark.process
def test_a_trial_is_asked_for_once_the_database_is_free(url: str) -> None:
    watched = open_watched(url)
    with locked_by_another_process(url) as free:
        watched.clock.at_each_sleep = lambda number: free() if number == 2 else None
        assert watched.study.optuna.ask().number == 0
    assert [trial.state for trial in trials_in(url)] == [TrialState.RUNNING]


@pytest.mark.process
def test_a_database_that_stays_locked_is_left_alone_and_the_next_run_writes_what_waits(
    url: str, tmp_path: Path
) -> None:
    watched, path = open_watched(url, seconds=20), tmp_path / "journal.jsonl"
    first, second = watched.study.optuna.ask(), watched.study.optuna.ask()
    with journal_of(watched, path) as journal, locked_by_another_process(url):
        value = first.suggest_float("a", 0, 1)
        first.report(0.5, step=1)
        assert watched.study.is_lost
        slept = watched.clock.now
        assert slept == 20
        first.report(0.7, step=2)
        first.set_user_attr("curve", [0.5, 0.7])
        watched.study.optuna.tell(first, 0.7)
        watched.study.optuna.set_user_attr("timing", {"search": 3.5})
        put_back(watched.study)
        assert watched.clock.now == slept, "the database is not asked again"
        assert watched.study.optuna.user_attrs["timing"] == {"search": 3.5}
        assert [trial.state for trial in watched.study.optuna.get_trials()] == [TrialState.COMPLETE, TrialState.WAITING]
        assert watched.study.optuna.get_trials()[0].params == {"a": value}
        with pytest.raises(
            StorageLostError, match=rf"was lost: database is locked\. 7 results that it did not accept wait in {path}"
        ):
            watched.study.optuna.ask()
        ended = watched.study.optuna.get_trials()[0].datetime_complete
        assert len(journal) == 7
    assert trials_in(url)[0].state == TrialState.RUNNING
    recover(url, path)
    done, waiting = trials_in(url)
    assert (done.state, done.value, done.params) == (TrialState.COMPLETE, 0.7, {"a": value})
    assert (done.intermediate_values, done.user_attrs) == ({1: 0.5, 2: 0.7}, {"curve": [0.5, 0.7]})
    assert done.datetime_complete == ended, "when it ended, not when it was written"
    assert (waiting.number, waiting.state) == (second.number, TrialState.WAITING)
    assert optuna.load_study(study_name="tiny", storage=RDBStorage(url)).user_attrs == {"timing": {"search": 3.5}}


@pytest.mark.process
def test_a_full_disk_that_is_given_room_takes_all_that_waited(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk:
        url = f"sqlite:///{disk}/trials.db"
        watched = open_watched(url)
        trial = watched.study.optuna.ask()
        with journal_of(watched, disk / "journal.jsonl") as journal:
            filling = fill(disk)
            watched.clock.at_each_sleep = lambda _: filling.unlink(missing_ok=True)
            for number in range(200):  # more than fits into the pages that the database has already
                trial.set_user_attr(f"note {number}", "x" * 2000)
            assert watched.clock.sleeps == 1
            assert len(journal) == 0
        assert watched.told[0].startswith(
            "The storage does not answer: d"
        )  # "database or disk is full", or an I/O error
        assert len(trials_in(url)[0].user_attrs) == 200
        watched.storage._backend.engine.dispose()


@pytest.mark.process
def test_a_disk_that_stays_full_keeps_the_results_in_the_journal_on_it(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk:
        url, path = f"sqlite:///{disk}/trials.db", disk / "journal.jsonl"
        watched = open_watched(url)
        trial = watched.study.optuna.ask()
        with journal_of(watched, path):
            filling = fill(disk)
            for number in range(200):
                trial.set_user_attr(f"note {number}", "x" * 2000)
            watched.study.optuna.tell(trial, 0.5)
            assert watched.study.is_lost
        filling.unlink()
        recover(url, path)
        (found,) = trials_in(url)
        assert (found.value, len(found.user_attrs)) == (0.5, 200)


@pytest.mark.process
def test_a_file_system_that_is_read_only_for_a_while_is_written_again(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk:
        url = f"sqlite:///{disk}/trials.db"
        watched = open_watched(url)
        trial = watched.study.optuna.ask()
        watched.storage._backend.engine.dispose()  # a file system with files open for writing cannot be made read-only
        remount(disk, "ro")
        watched.clock.at_each_sleep = lambda number: remount(disk, "rw") if number == 2 else None
        with journal_of(watched, tmp_path / "journal.jsonl") as journal:
            trial.report(0.5, step=1)
            assert len(journal) == 0
        assert watched.told[0].startswith(
            "The storage does not answer: unable to open database file"
        )  # a WAL file cannot be made
        assert trials_in(url)[0].intermediate_values == {1: 0.5}
        watched.storage._backend.engine.dispose()


def test_a_database_that_is_destroyed_under_a_run_is_not_waited_for(url: str, tmp_path: Path) -> None:
    watched = open_watched(url)
    trial = watched.study.optuna.ask()
    file = Path(url.removeprefix("sqlite:///"))
    with journal_of(watched, tmp_path / "journal.jsonl"):
        watched.storage._backend.engine.dispose()
        copy = file.read_bytes()
        file.write_bytes(b"no database at all " * 1000)
        trial.report(0.5, step=1)
        assert watched.study.is_lost
        assert watched.clock.sleeps == 0
        with pytest.raises(StorageLostError, match="was lost: file is not a database"):
            watched.study.optuna.ask()
    file.write_bytes(copy)  # restored
    recover(url, tmp_path / "journal.jsonl")
    assert trials_in(url)[0].intermediate_values == {1: 0.5}


@pytest.mark.process
def test_without_a_journal_a_lost_write_is_an_error(url: str) -> None:
    watched = open_watched(url, seconds=1)
    trial = watched.study.optuna.ask()
    with (
        locked_by_another_process(url),
        pytest.raises(StorageLostError, match=r"locked\. When it is back, run the same command to resume"),
    ):
        trial.report(0.5, step=1)


@pytest.mark.process
def test_what_neither_database_nor_journal_take_is_counted_and_written_when_there_is_room(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", megabytes=12) as disk:
        url = f"sqlite:///{disk}/trials.db"
        watched = open_watched(url, seconds=1)
        trial = watched.study.optuna.ask()
        with journal_of(watched, disk / "journal.jsonl"):
            filling = fill(disk)
            for number in range(20):
                trial.set_user_attr(f"note {number}", "x" * 100_000)
            error = str(watched.storage.overflow.error)
            assert "could not be written there (No space left on device) and will be computed again" in error
            filling.unlink()
            watched.study.optuna.tell(trial, 0.5)
            assert "could not be written" not in str(watched.storage.overflow.error)
        recover(url, disk / "journal.jsonl")
        assert len(trials_in(url)[0].user_attrs) == 20


def test_a_wrong_value_is_no_fault_of_the_storage(url: str) -> None:
    watched = open_watched(url)
    trial = watched.study.optuna.ask()
    with pytest.raises(TypeError):
        trial.set_user_attr("a set", {1, 2})
    assert not watched.study.is_lost
    assert watched.told == []


def counted_calls(url: str, act_on: Callable[[Watched], object]) -> int:
    watched, faults = open_watched(url), Faulty()
    with faulty(watched.storage._backend, faults):
        act_on(watched)
    return faults.calls


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


def take_steps(
    watched: Watched, trials: list[list[tuple[str, str | int]]], gone_from: int | None, faults: dict[int, str]
) -> Faulty:
    """Asks for all trials among passing faults, then takes their steps; from the call `gone_from` of these on, all
    calls fail.
    """
    backend, met = watched.storage._backend, Faulty(faults)
    with faulty(backend, met):
        running = [watched.study.optuna.ask() for _ in trials]
        if gone_from is not None:
            met.gone_from = met.calls + gone_from
        for trial, steps in zip(running, trials, strict=True):
            act(trial, steps)
        watched.study.optuna.set_user_attr("seen", [trial.number for trial in running])
        for trial in running:
            state = TrialState.COMPLETE if trial.number % 2 == 0 else TrialState.PRUNED
            watched.study.optuna.tell(trial, 0.5 if state == TrialState.COMPLETE else None, state=state)
        assert [trial.state.is_finished() for trial in watched.study.optuna.get_trials()] == [True] * len(trials)
    return met


@pytest.mark.slow
@given(
    trials=st.lists(STEPS, min_size=1, max_size=3),
    faults=st.dictionaries(st.integers(0, 150), st.sampled_from(["before", "after"]), max_size=10),
    gone_from=st.none() | st.integers(0, 60),
    again=st.integers(0, 40),
)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_fails_the_database_ends_as_that_of_an_undisturbed_run(
    trials: list[list[tuple[str, str | int]]],
    faults: dict[int, str],
    gone_from: int | None,
    again: int,
    tmp_path_factory: Any,
) -> None:
    folder = tmp_path_factory.mktemp("faults")
    urls = [f"sqlite:///{folder}/{name}.db" for name in ("quiet", "disturbed")]
    take_steps(open_watched(urls[0]), trials, None, {})
    watched = open_watched(urls[1])
    with journal_of(watched, folder / "journal.jsonl"):
        take_steps(watched, trials, gone_from, faults)
        read_in_memory = plain(watched.study.optuna.get_trials())
    # The first take-up is cut short somewhere, as by a kill; the next one begins anew.
    opened = open_storage(urls[1], create=False)
    clock = Clock()
    with faulty(opened, Faulty(gone_from=again)):
        try:
            take_up(
                folder / "journal.jsonl",
                "tiny",
                OwnTrials(opened, Patience(1, lambda _: None, clock.sleep, clock.time)),
            )
        except StorageLostError:
            assert (folder / "journal.jsonl").exists()
    recover(urls[1], folder / "journal.jsonl")
    quiet, disturbed = (optuna.load_study(study_name="tiny", storage=RDBStorage(url)) for url in urls)
    assert plain(disturbed.get_trials()) == plain(quiet.get_trials())
    assert read_in_memory == plain(quiet.get_trials())
    assert disturbed.user_attrs == quiet.user_attrs


WAITS = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from search.storage.journal import Journal
from search.storage.recovery import identity
from tests.search.storage.faults import open_watched

def say(number):
    print("waiting", flush=True)
    sys.stdin.readline()  # until it is killed

watched = open_watched(sys.argv[1])
trial = watched.study.optuna.ask()
name = identity(watched.storage, watched.study.id)
with Journal(Path(sys.argv[2]), study="tiny", identity=name) as watched.storage.overflow.journal:
    trial.suggest_float("a", 0, 1)
    trial.set_user_attr("seed", 3)
    print("ready", flush=True)
    sys.stdin.readline()
    watched.clock.at_each_sleep = say
    trial.report(0.75, step=1)
"""


@pytest.mark.process
def test_a_kill_while_the_storage_is_away_loses_nothing(url: str, tmp_path: Path) -> None:
    path, root = tmp_path / "journal.jsonl", Path(__file__).parents[3]
    command = [sys.executable, "-c", WAITS, url, str(path), str(root)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=root) as other:
        assert other.stdin is not None
        assert other.stdout is not None
        assert other.stdout.readline() == "ready\n", "it has begun"
        with locked_by_another_process(url):
            other.stdin.write("\n")
            other.stdin.flush()
            assert other.stdout.readline() == "waiting\n"
            other.kill()
            other.wait()
    assert trials_in(url)[0].intermediate_values == {}
    recover(url, path)
    assert trials_in(url)[0].intermediate_values == {1: 0.75}


def left_journal(url: str, path: Path) -> None:
    """A run has lost its storage after one trial was asked for."""
    watched = open_watched(url, seconds=1)
    trial = watched.study.optuna.ask()
    with journal_of(watched, path), locked_by_another_process(url):
        trial.report(0.5, step=1)
    watched.storage._backend.engine.dispose()


def refusal(url: str, path: Path) -> str:
    before = path.read_bytes()
    with pytest.raises(SearchError) as caught:
        take_up(path, "tiny", OwnTrials(open_storage(url, create=True)))
    assert path.read_bytes() == before
    assert not isinstance(caught.value, StorageLostError)
    return str(caught.value)


@pytest.mark.process
def test_a_journal_of_a_database_that_was_deleted_and_made_anew_is_refused(url: str, tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    left_journal(url, path)
    for file in tmp_path.glob("trials.db*"):
        file.unlink()
    says = f"1 result of the study 'tiny' in {path} cannot be written: --storage names another database."
    assert says in refusal(url, path)  # no study of that name
    watched = open_watched(url)
    trial = watched.study.optuna.ask()
    identity(watched.storage, watched.study.optuna._study_id)
    assert says in refusal(url, path)  # one with the same trial's number
    assert trials_in(url)[trial.number].intermediate_values == {}


@pytest.mark.process
def test_a_journal_is_not_written_to_an_older_copy_of_its_database(url: str, tmp_path: Path) -> None:
    path, file = tmp_path / "journal.jsonl", Path(url.removeprefix("sqlite:///"))
    watched = open_watched(url)
    identity(watched.storage, watched.study.optuna._study_id)
    watched.storage._backend.engine.dispose()
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    copy = file.read_bytes()
    left_journal(url, path)
    for each in tmp_path.glob("trials.db-*"):
        each.unlink()
    file.write_bytes(copy)
    assert "names an older copy of their database" in refusal(url, path)


def test_an_empty_journal_of_a_killed_run_is_taken_away(url: str, tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    with Journal(path, study="tiny", identity="of another database"):
        left = path.read_bytes()
    path.write_bytes(left)
    kept = read_journal(path)
    assert kept is not None
    assert kept.operations == ()
    recover_from = OwnTrials(open_storage(url, create=True))
    take_up(path, "tiny", recover_from)
    assert not path.exists()
