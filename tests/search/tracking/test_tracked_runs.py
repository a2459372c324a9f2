"""`run --track` through the real command, with a real MLflow server."""

import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import pytest

import search
from search.errors import SearchError
from search.tracking import choose
from tests.search.tiny import DEADLINE, NAME, RUN, TOML, Say, run_command, start_command, wait_for_line
from tests.search.tracking.tracked import free_port

TRIALS = ["trial-000", "trial-001", "trial-002"]
WHOLE = Counter([*TRIALS, "confirm", "confirm", "final-seed-2000", "result"])


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an MLflow server."""
    pytest.importorskip("mlflow")
    folder, port = tmp_path_factory.mktemp("server"), free_port()
    command = [sys.executable, "-m", "mlflow", "server", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{folder}/store.db", "--artifacts-destination", str(folder / "files")]
    environment = os.environ | {"MLFLOW_DISABLE_TELEMETRY": "true"}
    with (folder / "log.txt").open("w") as log:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True)
    try:
        wait_until_healthy(f"http://127.0.0.1:{port}/health", process)
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def wait_until_healthy(url: str, process: subprocess.Popen[bytes]) -> None:
    end = monotonic() + DEADLINE
    while process.poll() is None and monotonic() < end:
        try:
            urllib.request.urlopen(url, timeout=10).close()
            return
        except urllib.error.URLError:
            sleep(0.1)
    raise AssertionError(f"no answer from {url}")


def on_server(address: str, study: str) -> tuple[Any, list[Any]]:
    """A client of the server, and the runs of the study's experiment there."""
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=address)
    experiment = client.get_experiment_by_name(study)
    return client, list(client.search_runs([experiment.experiment_id])) if experiment else []


def kinds(names: Iterator[str]) -> Counter[str]:
    """How often each name is there; which trials were confirmed depends on their scores."""
    return Counter("confirm" if name.startswith("confirm-trial-") else name for name in names)


def event_files(folder: Path) -> Counter[str]:
    return kinds(path.parent.name for path in (folder / "studies" / NAME / "tensorboard").glob("*/events*"))


@pytest.mark.process
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_killed_run_is_in_both_once_it_was_resumed_with_nothing_doubled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: str
) -> None:
    pytest.importorskip("tensorboard")
    (tmp_path / "tiny.toml").write_text(TOML)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    tracked = (*RUN, "--track", "tensorboard", "--track", "mlflow", "--name", NAME)
    process = start_command(tmp_path, *tracked)
    wait_for_line(process, "2/3 trial 1")
    process.kill()
    process.communicate()
    done = run_command(tmp_path, *tracked)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"MLflow has all trainings: {server}" in done.stdout
    assert f"TensorBoard has all trainings: tensorboard --logdir studies/{NAME}/tensorboard" in done.stdout
    assert done.stderr == ""
    assert event_files(tmp_path) == WHOLE
    client, runs = on_server(server, NAME)
    assert kinds(run.info.run_name for run in runs) == WHOLE - Counter(["result"]) + Counter([NAME])
    assert {run.info.status for run in runs} == {"FINISHED"}
    parent = next(run for run in runs if run.info.run_name == NAME)
    model = {Path(file.path).name for file in client.list_artifacts(parent.info.run_id, "model")}
    assert {"model.onnx", "MODEL_CARD.md"} <= model
    for trial in TRIALS:
        run = next(run for run in runs if run.info.run_name == trial)
        history = client.get_metric_history(run.info.run_id, "f1/validation")
        assert [each.step for each in history] == [1, 2]


@pytest.mark.process
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_server_that_is_down_stops_nothing_and_gets_all_of_the_finished_study_later(
    finished: Path, monkeypatch: pytest.MonkeyPatch, server: str
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{free_port()}")
    tracked = (*RUN, "--track", "mlflow", "--name", NAME)
    done = run_command(finished, *tracked)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("does not answer: Connection refused. The job goes on without it.") == 1
    assert "MLflow lacks trainings of this study. Run the same command again to send them." in done.stdout
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    before = {run.info.run_id for run in on_server(server, NAME)[1]}  # of another test's study of this name
    done = run_command(finished, *tracked)
    assert "MLflow has all trainings" in done.stdout
    runs = [run for run in on_server(server, NAME)[1] if run.info.run_id not in before]
    assert kinds(run.info.run_name for run in runs) == WHOLE - Counter(["result"]) + Counter([NAME])


@pytest.mark.parametrize(
    ("given", "told"),
    [("mlflo", "Did you mean 'mlflow'?"), ("tensorboard,wandb", "Valid: mlflow, tensorboard.")],
)
def test_an_unknown_tracker_is_refused_before_anything_begins(say: Say, given: str, told: str) -> None:
    code, _, errors = say(*RUN, "--track", given)
    assert code == 2
    assert f"--track must name trackers, got {given.rpartition(',')[2]!r}. {told}" in errors
    assert not Path("studies").exists()


def test_a_tracker_whose_package_is_missing_is_refused_with_what_installs_it(
    say: Say, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choose, "find_spec", lambda _: None)
    code, _, errors = say(*RUN, "--track", "mlflow", "--dry-run")
    assert code == 2
    assert (
        "--track mlflow needs the package mlflow, which is not installed: pip install 'fmnist-search[mlflow]'" in errors
    )
    with pytest.raises(SearchError, match=r"pip install 'fmnist-search\[tensorboard\]'"):
        search.run("quick", data="synthetic", track="tensorboard")  # type: ignore[arg-type]  # one is no list
    assert not Path("studies").exists()
