"""A search that is kept in PostgreSQL: a real server, which is stopped, killed and cut off while the search goes on."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState
from sqlalchemy import event
from sqlalchemy.pool import Pool

from fmnist.data.sources import find_source
from search.journal import read_journal
from search.opening import open_storage
from search.study import load_study
from tests.search.postgres import SHOWN, Postgres, postgres
from tests.search.test_kills import retrained
from tests.search.tiny import TOML, Say, run_command, start_command, surroundings, wait_for_line

pytestmark = pytest.mark.cluster

RUN = ("run", "tiny.toml", "--data", "synthetic", "--workers", "2", "--storage")
TRIALS = 3


@pytest.fixture(scope="module")
def one_server() -> Iterator[Postgres]:
    with postgres() as server:
        yield server


@pytest.fixture
def server(one_server: Postgres) -> Postgres:
    if not one_server.is_running:  # a test failed while it was stopped
        one_server.start()
    return one_server


@pytest.fixture(autouse=True)
def _connections_end_with_their_test() -> Iterator[None]:
    """Those too that a command leaves to the end of its process, which here is pytest's."""
    opened: list[Any] = []

    def note(connection: Any, _record: Any) -> None:
        opened.append(connection)

    event.listen(Pool, "connect", note)
    yield
    event.remove(Pool, "connect", note)
    for connection in opened:
        connection.close()


@contextmanager
def study_in(url: str, name: str = "tiny-synthetic") -> Iterator[optuna.Study]:
    opened = open_storage(url, create=False)
    try:
        yield load_study(opened, name)
    finally:
        opened.engine.dispose()


def assert_undisturbed(url: str) -> None:
    """The study in the database is what its configurations and seeds give without a fault, each of its trials once."""
    source = find_source("synthetic", announce=lambda _: None)
    with study_in(url) as study:
        assert [(trial.number, trial.state) for trial in study.trials] == [(number, TrialState.COMPLETE) for number in range(TRIALS)]
        assert len({str(trial.user_attrs["config"]) for trial in study.trials}) == TRIALS
        for trial in study.trials:
            curve = [point["macro_f1"] for point in trial.user_attrs["curve"]]
            assert curve == [trial.intermediate_values[1], trial.intermediate_values[2]] == retrained(source, trial)
            assert trial.value == curve[-1]
        assert len(study.user_attrs["openings"]) == 1


@pytest.mark.slow
def test_the_whole_job_and_its_reports_work_and_show_no_password(server: Postgres, say: Say, tmp_path: Path) -> None:
    database = server.new_database()
    url = server.url(database)
    code, *texts = say(*RUN, url, "--dry-run")
    assert code == 0, texts
    assert "Nothing was started." in texts[0]
    done = run_command(tmp_path, *RUN, url)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "postgresql+psycopg://searcher:***@127.0.0.1" in done.stdout
    shown = [*texts, done.stdout, done.stderr]
    for arguments in (("status",), ("report",), ("best",), RUN[:-1]):
        code, *texts = say(*arguments, "--storage", url)
        assert code == 0, texts
        shown += texts
    assert_undisturbed(url)
    with server.connect(database) as connection:
        names = connection.execute("SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'").fetchall()
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
def test_a_run_waits_for_a_server_that_is_stopped_and_for_one_that_is_killed(server: Postgres, tmp_path: Path) -> None:
    (tmp_path / "tiny.toml").write_text(TOML)
    url = server.url(server.new_database())
    with running(start_command(tmp_path, *RUN, url)) as process:
        for end in (server.stop, server.kill):
            wait_for_line(process, "epoch 1/2")
            end()
            waits = wait_for_line(process, "The storage does not answer: ")
            assert "Waiting up to 2 min; the trainings go on." in waits
            assert SHOWN not in waits
            server.start()
            wait_for_line(process, "The storage answers again after ")
        output, errors = process.communicate()
    assert process.returncode == 0, output + errors
    assert errors == ""
    assert not (tmp_path / "studies" / "tiny-synthetic" / "journal.jsonl").exists()
    assert_undisturbed(url)


# The real command, but that it waits for a second instead of two minutes.
IMPATIENT = "import sys, search.patience; search.patience.SECONDS = 1.0; from search.cli import main; sys.argv[0] = 'fmnist-search'; main()"


@pytest.mark.slow
def test_a_run_whose_server_stays_away_ends_with_1_and_given_again_goes_on(server: Postgres, say: Say, tmp_path: Path) -> None:
    url = server.url(server.new_database())
    impatient = subprocess.Popen(
        [sys.executable, "-c", IMPATIENT, *RUN, url],
        cwd=tmp_path,
        env=surroundings(PYTHONPATH=str(Path(__file__).parents[2])),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    with running(impatient) as process:
        wait_for_line(process, "epoch 1/2")
        server.stop()
        output, errors = process.communicate()
    assert process.returncode == 1, output + errors
    (line,) = errors.splitlines()
    assert line.startswith("Error: The storage was lost: ")
    assert line.endswith("in studies/tiny-synthetic/journal.jsonl. When it is back, the same command goes on.")
    kept = read_journal(tmp_path / "studies" / "tiny-synthetic" / "journal.jsonl")
    assert kept is not None
    assert kept.operations
    assert SHOWN not in output + errors + str(kept)
    code, output, errors = say(*RUN, url)
    assert code == 2, output + errors
    assert "Connection refused" in errors
    assert read_journal(tmp_path / "studies" / "tiny-synthetic" / "journal.jsonl") == kept
    server.start()
    done = run_command(tmp_path, *RUN, url)
    assert done.returncode == 0, done.stdout + done.stderr
    assert not (tmp_path / "studies" / "tiny-synthetic" / "journal.jsonl").exists()
    assert_undisturbed(url)
