"""A study on a real PostgreSQL server, which goes away and comes back."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from optuna.storages import RDBStorage
from optuna.trial import TrialState

from fmnist.config import TrialConfig
from fmnist.data.sources import find_source
from fmnist.data.splits import SPLIT_SEED, search_splits
from fmnist.train import fit
from search.opening import open_storage
from search.study import journal_path, load_study
from tests.search.postgres import PASSWORD, Server, missing
from tests.search.tiny import CPU, TOML, run_command, start_command, surroundings, wait_for_line

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.skipif(bool(missing()), reason=str(missing()))]
BUDGET, EPOCHS = 6, 2
LONGER = TOML.replace("trials = 3", f"trials = {BUDGET}")
NAME = "tiny-synthetic"
# The real command, but that it waits for three seconds instead of two minutes.
IMPATIENT = "import sys, search.patience; search.patience.SECONDS = 3.0; from search.cli import main; sys.argv[0] = 'fmnist-search'; main()"


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server() as running:
        yield running


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "tiny.toml").write_text(LONGER)
    return tmp_path


def run(url: str) -> tuple[str, ...]:
    return ("run", "tiny.toml", "--data", "synthetic", "--workers", "2", "--storage", url)


@contextmanager
def closing_storage(url: str) -> Iterator[RDBStorage]:
    storage = open_storage(url, create=False)
    yield storage
    storage.engine.dispose()


def require_exact(url: str) -> list[dict[str, Any]]:
    """The study has its budget, each trial whole and as an undisturbed training gives it. Returns all its attributes."""
    with closing_storage(url) as storage:
        study = load_study(storage, NAME)
        trials, attributes = study.trials, study.user_attrs
    assert [trial.number for trial in trials] == list(range(BUDGET))
    assert {trial.state for trial in trials} == {TrialState.COMPLETE}
    trained = [(json.dumps(trial.user_attrs["config"]), trial.user_attrs["seed"]) for trial in trials]
    assert len(set(trained)) == BUDGET
    splits = search_splits(find_source("synthetic", announce=lambda _: None), seed=SPLIT_SEED)
    for trial in trials:
        config = TrialConfig.parse(trial.user_attrs["config"], where="trial")
        epochs = fit(config, splits.train, splits.valid, seed=trial.user_attrs["seed"], device=CPU)
        assert list(trial.intermediate_values.values()) == [epoch.macro_f1 for epoch in epochs]
        assert [point["number"] for point in trial.user_attrs["curve"]] == list(range(1, EPOCHS + 1))
    return [attributes, *(trial.user_attrs for trial in trials)]


def test_the_whole_job_on_a_server_shows_and_keeps_no_password(server: Server, folder: Path) -> None:
    url = server.database("whole")
    dry = run_command(folder, *run(url), "--dry-run")
    done = run_command(folder, *run(url))
    assert (dry.returncode, done.returncode) == (0, 0), done.stderr
    attributes = require_exact(url)
    said = [dry.stdout, dry.stderr, done.stdout, done.stderr]
    for command in ("status", "report", "best"):
        told = run_command(folder, command, "--storage", url)
        assert told.returncode == 0, told.stderr
        said += [told.stdout, told.stderr]
    kept = [path.read_bytes() for path in folder.rglob("*") if path.is_file()]
    assert "***" in dry.stdout
    assert not any(PASSWORD in text for text in said)
    assert not any(PASSWORD.encode() in data for data in kept)
    assert PASSWORD not in json.dumps(attributes)


def test_a_server_that_goes_away_and_returns_costs_nothing(server: Server, folder: Path) -> None:
    url = server.database("away")
    process = start_command(folder, *run(url))
    try:
        for trial in (1, 4):
            wait_for_line(process, f"trial {trial}, epoch 1")
            server.stop()
            wait_for_line(process, "The storage does not answer")
            server.start()
            wait_for_line(process, "The storage answers again")
        output, errors = process.communicate(timeout=300)
    finally:
        process.kill()
        server.stop()
        server.start()
    assert process.returncode == 0, errors
    assert "Traceback" not in errors
    assert "Test macro F1" in output
    require_exact(url)
    assert not (folder / journal_path(NAME)).exists()


def test_a_server_that_stays_away_ends_the_run_and_the_next_one_goes_on(server: Server, folder: Path) -> None:
    url = server.database("gone")
    command = [sys.executable, "-c", IMPATIENT, *run(url)]
    process = subprocess.Popen(command, cwd=folder, env=surroundings(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        wait_for_line(process, "trial 2, epoch 1")
        server.stop()
        _, errors = process.communicate(timeout=300)
    finally:
        process.kill()
        server.stop()
        server.start()
    assert process.returncode == 1
    assert errors.startswith("Error: The storage was lost: ")
    assert "the same command goes on" in errors
    assert (PASSWORD in errors, "Traceback" in errors, errors.count("\n")) == (False, False, 1)
    assert (folder / journal_path(NAME)).exists()
    again = run_command(folder, *run(url))
    assert again.returncode == 0, again.stderr
    require_exact(url)
    assert not (folder / journal_path(NAME)).exists()


def test_connections_that_are_cut_again_and_again_lose_nothing(server: Server, folder: Path) -> None:
    url = server.database("cut")
    process = start_command(folder, *run(url))
    try:
        for _ in range(BUDGET):
            wait_for_line(process, ", epoch 1/")
            server.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'cut' AND pid <> {os.getpid()}")
        _, errors = process.communicate(timeout=300)
    finally:
        process.kill()
    assert process.returncode == 0, errors
    require_exact(url)


def test_a_run_from_another_folder_is_refused_while_one_is_at_work(
    server: Server, folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    url, elsewhere = server.database("busy"), tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "tiny.toml").write_text(LONGER)
    process = start_command(folder, *run(url))
    try:
        wait_for_line(process, "trial 0, epoch 1")
        process.send_signal(signal.SIGSTOP)  # so that it is not over before the second one has begun
        second = run_command(elsewhere, *run(url))
    finally:
        process.kill()
        process.communicate()
    assert second.returncode == 2
    assert f"Another run is at work on the study '{NAME}': process {process.pid} on " in second.stderr
    assert run_command(elsewhere, *run(url)).returncode == 0  # the first is dead, and known to be
    require_exact(url)


@pytest.mark.parametrize(
    ("database", "password", "said"),
    [("none", PASSWORD, "does not exist"), ("postgres", "wr0ng-pass", "password authentication failed")],
)
def test_a_server_that_refuses_is_one_clean_error(server: Server, folder: Path, database: str, password: str, said: str) -> None:
    refused = run_command(folder, *run(server.url(database, password)))
    assert refused.returncode == 2
    assert said in refused.stderr
    assert (password in refused.stderr, "Traceback" in refused.stderr) == (False, False)
    assert not (folder / "studies").exists()


def test_no_server_is_one_clean_error(folder: Path) -> None:
    refused = run_command(folder, *run(f"postgresql+psycopg://tester:{PASSWORD}@127.0.0.1:1/none"))
    assert refused.returncode == 2
    assert "cannot be opened" in refused.stderr
    assert (PASSWORD in refused.stderr, "Traceback" in refused.stderr) == (False, False)
