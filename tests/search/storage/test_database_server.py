"""A search that is kept in PostgreSQL: a real server, which is stopped, killed and cut off while the search goes on."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import optuna
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from optuna.trial import TrialState
from sqlalchemy import Engine, event, make_url

from fmnist.data.sources import find_source
from search.errors import SearchError
from search.job.search import put_back
from search.storage import patience
from search.storage.opening import NETWORK, open_storage
from search.storage.patience import Patience
from search.storage.trial_record import CONFIG, CURVE
from search.study.study import Study, load_study
from tests.search.job.test_kills import retrained
from tests.search.storage.faults import Clock, Fault, Faulty, faulty, open_watched, start_impatient
from tests.search.storage.postgres import SHOWN, Postgres, connections_closed, postgres, unused_port
from tests.search.storage.test_own_trials import STEPS, act
from tests.search.storage.test_storage_faults import plain
from tests.search.tiny import TOML, Say, run_command, start_command, wait_for_line

pytestmark = pytest.mark.cluster

RUN = ("run", "tiny.toml", "--data", "synthetic", "--workers", "2", "--storage")
TRIALS, EXAMPLES = 3, 8
MANY, AWAY_SECONDS = 60, 10
NUMBERS = count()  # of studies that share a database


@pytest.fixture(scope="module")
def one_server() -> Iterator[Postgres]:
    with postgres() as server:
        yield server


@pytest.fixture
def server(one_server: Postgres) -> Postgres:
    if not one_server.is_running:  # a test failed while it was stopped
        one_server.start()
    return one_server


@pytest.fixture
def database(server: Postgres) -> str:
    return server.new_database()


@pytest.fixture(autouse=True)
def _connections_end_with_their_test() -> Iterator[None]:
    with connections_closed():
        yield


@contextmanager
def study_in(url: str, name: str = "tiny-synthetic") -> Iterator[Study]:
    opened = open_storage(url, create=False)
    try:
        yield load_study(opened, name)
    finally:
        opened.engine.dispose()


def assert_undisturbed(url: str) -> None:
    """The study in the database is what its configurations and seeds give without a fault, each of its trials once."""
    source = find_source("synthetic", announce=lambda _: None)
    with study_in(url) as study:
        assert [(trial.number, trial.state) for trial in study.optuna.trials] == [
            (number, TrialState.COMPLETE) for number in range(TRIALS)
        ]
        assert len({str(trial.system_attrs[CONFIG]) for trial in study.optuna.trials}) == TRIALS
        for trial in study.optuna.trials:
            curve = [point["macro_f1"] for point in trial.system_attrs[CURVE]]
            assert curve == [trial.intermediate_values[1], trial.intermediate_values[2]] == retrained(source, trial)
            assert trial.value == curve[-1]
        assert len(study.optuna.user_attrs["openings"]) == 1


def test_the_password_may_be_in_the_environment(
    database: str, server: Postgres, say: Say, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = make_url(server.url(database))
    bare = f"{url.drivername}://{url.username}@{url.host}:{url.port}/{url.database}"
    monkeypatch.delenv("PGPASSWORD", raising=False)
    code, _, errors = say(*RUN, bare, "--dry-run")
    assert code == 2
    assert "password" in errors
    monkeypatch.setenv("PGPASSWORD", str(url.password))
    code, output, errors = say(*RUN, bare, "--dry-run")
    assert code == 0, errors
    assert "Nothing was started." in output


@pytest.mark.slow
def test_the_whole_job_and_its_reports_work_and_show_no_password(
    server: Postgres, database: str, say: Say, tmp_path: Path
) -> None:
    url = server.url(database)
    code, *texts = say(*RUN, url, "--dry-run")
    assert code == 0, texts
    assert "Nothing was started." in texts[0]
    done = run_command(tmp_path, *RUN, url)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "postgresql+psycopg://searcher:***@127.0.0.1" in done.stdout
    shown = [*texts, done.stdout, done.stderr]
    for arguments in (("status",), ("report",), ("best",)):
        code, *texts = say(*arguments, "--storage", url)
        assert code == 0, texts
        shown += texts
    assert_undisturbed(url)
    with server.connect(database) as connection:
        names = connection.execute(
            "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'"
        ).fetchall()
        rows = [row for (name,) in names for row in connection.execute(f'SELECT * FROM "{name}"'.encode()).fetchall()]
    assert "searcher:***@127.0.0.1" in str(rows), "the environment record has the command line"
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {"report.md", "report.json", "model.onnx"} <= {path.name for path in files}
    for text in [*shown, str(rows), *(path.read_bytes().decode("latin-1") for path in files)]:
        assert SHOWN not in text


@contextmanager
def running(process: subprocess.Popen[str]) -> Iterator[subprocess.Popen[str]]:
    """Whatever happens, it and its workers are gone afterwards."""
    with process:
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, 9)


@pytest.mark.slow
def test_a_run_waits_for_a_server_that_is_stopped_and_for_one_that_is_killed(
    server: Postgres, database: str, tmp_path: Path
) -> None:
    (tmp_path / "tiny.toml").write_text(TOML)
    url = server.url(database)
    with running(start_command(tmp_path, *RUN, url)) as process:
        for end in (server.stop, server.kill):
            wait_for_line(process, "epoch 1/2")
            end()
            waits = wait_for_line(process, "The storage does not answer: ")
            assert "Waiting up to 2 min; trainings continue." in waits
            assert SHOWN not in waits
            server.start()
            wait_for_line(process, "The storage answers again after ")
        output, errors = process.communicate()
    assert process.returncode == 0, output + errors
    assert errors == ""
    assert_undisturbed(url)


@pytest.mark.slow
def test_60_trials_of_4_workers_lose_nothing_to_a_server_that_is_away_for_10_seconds(
    server: Postgres, database: str, tmp_path: Path
) -> None:
    quick = TOML.replace("epochs = 2\ndepth", "epochs = 1\ndepth").replace("trials = 3", f"trials = {MANY}")
    (tmp_path / "tiny.toml").write_text(quick)
    url = server.url(database)
    with running(
        start_command(tmp_path, "run", "tiny.toml", "--data", "synthetic", "--workers", "4", "--storage", url)
    ) as process:
        wait_for_line(process, f"{MANY // 3}/{MANY} ")
        server.stop()
        wait_for_line(process, "The storage does not answer: ")
        time.sleep(AWAY_SECONDS)
        server.start()
        output, errors = process.communicate()
    assert process.returncode == 0, output + errors
    (back,) = re.findall(r"The storage answers again after (\d+) s; nothing is lost.", output)
    assert int(back) >= AWAY_SECONDS
    with study_in(url) as study:
        assert [(trial.number, trial.state) for trial in study.optuna.trials] == [
            (number, TrialState.COMPLETE) for number in range(MANY)
        ]
        assert len({str(trial.system_attrs[CONFIG]) for trial in study.optuna.trials}) == MANY
        for trial in study.optuna.trials:
            assert (
                [point["macro_f1"] for point in trial.system_attrs[CURVE]]
                == [trial.intermediate_values[1]]
                == trial.values
            )


@pytest.mark.slow
def test_a_run_whose_server_stays_away_ends_with_1_and_given_again_goes_on(
    server: Postgres, database: str, say: Say, tmp_path: Path
) -> None:
    url = server.url(database)
    with running(start_impatient(tmp_path, 1.0, *RUN, url)) as process:
        wait_for_line(process, "epoch 1/2")
        server.stop()
        output, errors = process.communicate()
    assert process.returncode == 1, output + errors
    (line,) = errors.splitlines()
    assert line.startswith("Error: The storage was lost: ")
    assert line.endswith("When it is back, run the same command to resume.")
    assert SHOWN not in output + errors
    code, output, errors = say(*RUN, url)
    assert code == 2, output + errors
    assert "Connection refused" in errors
    server.start()
    done = run_command(tmp_path, *RUN, url)
    assert done.returncode == 0, done.stdout + done.stderr
    assert_undisturbed(url)


@dataclass
class Cut:
    """The server ends all connections to the database at calls of the driver: before number `n`, or after it took
    effect.
    """

    server: Postgres
    database: str
    moments: dict[int, str]
    calls: int = 0

    def let(self, call: Callable[..., Any], *arguments: Any) -> Any:
        when, self.calls = self.moments.get(self.calls), self.calls + 1
        if when == "before":
            self.server.cut_connections(self.database)
        result = call(*arguments)
        if when == "after":
            self.server.cut_connections(self.database)
            # What the driver meets where the answer itself is lost. A commit is given the connection, a statement its
            # cursor.
            cut = getattr(arguments[0], "driver_connection", None) or arguments[0].connection
            cut.execute("SELECT 1")
        return result


def take_steps(url: str, name: str, trials: list[list[tuple[str, str | int]]], met: Fault) -> None:
    """A study is made, and its trials are asked for, take their steps and end."""
    clock, storage = Clock(), open_storage(url, create=True)
    storage.patience = Patience(60, lambda _: None, clock.sleep, clock.time)
    with faulty(storage.backend, met):
        sampler = optuna.samplers.RandomSampler(seed=1)
        study = optuna.create_study(
            study_name=name, storage=storage, direction="maximize", load_if_exists=True, sampler=sampler
        )
        study.enqueue_trial({"a": 0.25})
        running = [study.ask() for _ in trials]
        for trial, steps in zip(running, trials, strict=True):
            act(trial, steps)
        study.set_user_attr("seen", [trial.number for trial in running])
        for trial in running[1:]:
            study.tell(trial, 0.5)
        put_back(Study(study))
    storage.engine.dispose()


@pytest.mark.slow
@given(
    trials=st.lists(STEPS, min_size=1, max_size=3),
    moments=st.dictionaries(st.integers(0, 60), st.sampled_from(["before", "after"]), min_size=1, max_size=8),
)
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # each example takes half a second: to shrink one, minutes
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_connections_that_are_cut_at_any_moment_change_nothing(
    trials: list[list[tuple[str, str | int]]], moments: dict[int, str], server: Postgres, database: str, tmp_path: Path
) -> None:
    quiet, url = f"sqlite:///{tmp_path}/quiet.db", server.url(database)
    name, cut = f"study {next(NUMBERS)}", Cut(server, database, moments)
    take_steps(quiet, name, trials, Faulty())
    take_steps(url, name, trials, cut)
    assert cut.calls > min(moments), "a connection was cut"
    with study_in(quiet, name) as expected, study_in(url, name) as found:
        assert plain(found.optuna.get_trials()) == plain(expected.optuna.get_trials())
        assert found.optuna.user_attrs == expected.optuna.user_attrs


@pytest.mark.slow
def test_a_run_from_another_folder_is_refused_while_one_brings_the_study_to_its_end(
    server: Postgres, database: str, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folders = tmp_path, tmp_path_factory.mktemp("elsewhere")
    for folder in folders:
        (folder / "tiny.toml").write_text(TOML)
    process = start_command(tmp_path, *RUN, server.url(database))
    try:
        wait_for_line(process, "Confirm: ")
        process.send_signal(signal.SIGSTOP)  # so that it is not over before the second one has begun
        second = run_command(folders[1], *RUN, server.url(database))
    finally:
        process.kill()
        process.communicate()
    assert second.returncode == 2
    assert f"Another run is at work on the study 'tiny-synthetic': process {process.pid} on " in second.stderr
    assert run_command(folders[1], *RUN, server.url(database)).returncode == 0  # the first is dead, and known to be
    assert_undisturbed(server.url(database))


def test_a_server_that_only_reads_for_a_while_is_written_again(server: Postgres, database: str) -> None:
    def only_reads(is_so: bool) -> None:
        with server.connect() as other:
            other.execute(f"ALTER DATABASE {database} SET default_transaction_read_only = {is_so}".encode())
        server.cut_connections(database)

    watched = open_watched(server.url(database))
    trial = watched.study.optuna.ask()
    only_reads(True)
    watched.clock.at_each_sleep = lambda number: only_reads(False) if number == 3 else None
    trial.report(0.5, step=1)
    assert watched.told[0].startswith("The storage does not answer: ")
    assert watched.told[1].endswith("nothing is lost.")
    with study_in(server.url(database), "tiny") as study:
        assert study.optuna.trials[0].intermediate_values == {1: 0.5}


@pytest.mark.parametrize(
    "arguments", [("status", "--storage"), ("report", "--storage"), (*RUN[:-1], "--dry-run", "--storage"), RUN]
)
def test_a_server_that_stops_under_a_command_and_stays_away_ends_it_with_1(
    arguments: tuple[str, ...], server: Postgres, database: str, say: Say, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "SECONDS", 0.0)
    url = server.url(database)
    watched = open_watched(url, name="tiny-synthetic")
    watched.study.optuna.tell(watched.study.optuna.ask(), 0.5)

    def stop(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if "FROM studies" in statement and server.is_running:
            server.stop()

    event.listen(Engine, "before_cursor_execute", stop)
    try:
        code, output, errors = say(*arguments, url)
    finally:
        event.remove(Engine, "before_cursor_execute", stop)
    assert not server.is_running
    assert code == 1, output + errors
    (line,) = errors.splitlines()
    assert line.startswith("Error: The storage was lost: ")
    assert line.endswith("When it is back, run the same command to resume.")
    assert SHOWN not in output + errors


def test_a_server_that_cannot_be_had_is_refused_with_what_to_do(
    server: Postgres, database: str, say: Say, tmp_path: Path
) -> None:
    refusals = {
        server.url(database, port=unused_port()): (
            "Connection refused",
            "Start the server, or correct host and port in --storage.",
        ),
        server.url(database, password="Sesame-wrong"): (
            "password authentication failed",
            "Correct the user or the password in --storage.",
        ),
        server.url("nowhere"): (
            'database "nowhere" does not exist',
            "Create it, for instance with `createdb`, or correct its name",
        ),
        server.url(database).replace("127.0.0.1", "no.such.host.invalid"): (
            "resolve host",
            "Correct the host in --storage.",
        ),
    }
    for url, (reason, step) in refusals.items():
        for arguments in (("status", "--storage"), RUN):
            code, output, errors = say(*arguments, url)
            assert code == 2, output + errors
            (line,) = errors.splitlines()
            assert reason in line
            assert step in line
            assert SHOWN not in output + errors


def test_a_host_that_does_not_answer_is_given_up_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(NETWORK, "connect_timeout", 2)  # the least that libpq takes
    with socket.create_server(("127.0.0.1", 0)) as silent:  # it takes connections and says nothing
        url = f"postgresql+psycopg://user:Sesame@127.0.0.1:{silent.getsockname()[1]}/studies"
        with pytest.raises(
            SearchError, match=r"timeout expired.* --storage must name the host and port of a server"
        ) as caught:
            open_storage(url, create=True)
    assert "Sesame" not in str(caught.value)


def test_a_network_that_falls_silent_is_noticed_unless_the_url_says_otherwise(server: Postgres, database: str) -> None:
    for query, timeout in (("", "25000"), ("?tcp_user_timeout=1000", "1000")):
        opened = open_storage(server.url(database) + query, create=True)
        with closing(opened.engine.raw_connection()) as connection:
            driver: Any = connection.driver_connection
            known = driver.info.get_parameters()
        opened.engine.dispose()
        assert (known["tcp_user_timeout"], known["connect_timeout"], known["keepalives_idle"]) == (timeout, "10", "10")


def test_without_its_driver_the_refusal_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(SearchError, match=r"pip install 'psycopg\[binary\]'"):
        open_storage("postgresql+psycopg://user@127.0.0.1/studies", create=True)
