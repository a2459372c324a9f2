"""`--executor ray`, on real Ray clusters on this machine: nodes that die and join, a coordinator that is killed;
nothing stays behind.
"""

import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from optuna.trial import TrialState

from fmnist.checkpoint import load_checkpoint
from fmnist.config import TrialConfig
from fmnist.data.sources import Source, find_source
from fmnist.data.splits import SPLIT_SEED
from search.executors import EpochEnd, Event, Failed, Finished, Resumed, Task
from search.executors.cluster import Cluster
from search.executors.training import Setup
from search.storage.opening import open_storage
from search.storage.trial_record import CURVE
from search.study.paths import RUNNING
from search.study.records import Ablations, Confirmation, Environment, Final
from search.study.study import Study, load_study
from tests.search.executors.test_local_executor import curve
from tests.search.job.test_kills import retrained
from tests.search.tiny import DEADLINE, TOML, Say, run_command, small_source, start_command, wait_for_line

ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'fmnist-search[cluster]'")
pytestmark = [
    pytest.mark.cluster,
    pytest.mark.slow,
    pytest.mark.filterwarnings("default"),
]
alone = pytest.mark.usefixtures("ray_alone")
BUDGET, NAME = 4, "long-synthetic"
LONG = (
    TOML.replace("trials = 3", f"trials = {BUDGET}")
    .replace("epochs = 2\ndepth", "epochs = 8\ndepth")
    .replace("[4, 8]", "[8, 16]")
)
Shared = Callable[..., Any]


@pytest.fixture
def three_nodes(ray_alone: None) -> Iterator[Any]:
    """A cluster of three nodes with a CPU each."""
    from ray.cluster_utils import Cluster as Nodes

    nodes = Nodes(
        initialize_head=True,
        head_node_args={"num_cpus": 1, "include_dashboard": False, "object_store_memory": 200_000_000},
    )
    for _ in range(2):
        nodes.add_node(num_cpus=1, object_store_memory=200_000_000)
    yield nodes
    nodes.shutdown()  # type: ignore[no-untyped-call]


def study_in(folder: Path) -> Study:
    return load_study(open_storage(f"sqlite:///{folder}/studies/fmnist.db", create=False), NAME)


def assert_exact(folder: Path) -> Study:
    """Each trial is there once, with the very curve of an undisturbed training; there is one winner, and one look at
    the test split.
    """
    study, source = study_in(folder), find_source("synthetic", announce=lambda _: None)
    assert [(trial.number, trial.state) for trial in study.optuna.trials] == [
        (number, TrialState.COMPLETE) for number in range(BUDGET)
    ]
    for trial in study.optuna.trials:
        assert [point["macro_f1"] for point in trial.system_attrs[CURVE]] == retrained(source, trial)
    confirmation, final = study.read(Confirmation), study.read(Final)
    assert confirmation is not None
    assert final is not None
    assert final.trial == confirmation.winner == max(confirmation.candidates, key=lambda one: one.mean).trial
    assert len(study.optuna.user_attrs["openings"]) == 1
    assert not list((folder / "studies" / NAME / RUNNING).glob("*"))
    return study


def processes_of(folder: Path) -> list[psutil.Process]:
    """Of Ray, with their files there."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        if any(str(folder) in part for part in process.info["cmdline"] or ()):
            found.append(process)
    return found


def until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + DEADLINE
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_node_dies_in_mid_search_and_another_joins(three_nodes: Any, tmp_path: Path) -> None:
    (tmp_path / "long.toml").write_text(LONG)
    run = start_command(
        tmp_path, "run", "long.toml", "--data", "synthetic", "--executor", "ray", "--address", three_nodes.address
    )
    wait_for_line(run, "epoch 2/8")
    three_nodes.remove_node(three_nodes.worker_nodes.copy().pop(), allow_graceful=False)
    wait_for_line(run, "complete at F1")
    three_nodes.add_node(num_cpus=2, object_store_memory=200_000_000)
    output, errors = run.communicate(timeout=DEADLINE)
    assert run.returncode == 0, output + errors
    study = assert_exact(tmp_path)
    (environment,) = (Environment(**each) for each in study.optuna.user_attrs["environments"])
    assert environment.device == "Ray, 3 nodes with 3 CPUs and 0 GPUs"
    assert environment.workers == 3
    exported = load_checkpoint(tmp_path / "studies" / NAME / "export")
    assert exported.origin["data"] == "synthetic"
    assert exported.origin["temperature"] == (study.read(Confirmation) or Confirmation(candidates=())).temperature
    assert exported.origin["temperature"] is not None
    ray = ("--executor", "ray", "--address", three_nodes.address)
    ablated = run_command(tmp_path, "ablate", *ray, "--seeds", "1", "--epochs", "1", "--only", "batch_norm")
    assert ablated.returncode == 0, ablated.stdout + ablated.stderr
    (ablation,) = (study_in(tmp_path).read(Ablations) or Ablations()).found
    assert [(variant.without, len(variant.runs)) for variant in ablation.variants] == [(None, 1), ("batch_norm", 1)]


def test_the_coordinator_is_killed_its_workers_end_and_the_same_command_goes_on(
    three_nodes: Any, tmp_path: Path
) -> None:
    (tmp_path / "long.toml").write_text(LONG)
    command = (
        "run",
        "long.toml",
        "--data",
        "synthetic",
        "--executor",
        "ray",
        "--address",
        three_nodes.address,
        "--max-workers",
        "2",
    )
    run = start_command(tmp_path, *command)
    wait_for_line(run, "complete at F1")
    wait_for_line(run, "epoch 2/8")
    run.kill()
    run.communicate()
    trainers = [
        process
        for process in psutil.process_iter(["cmdline"])
        if "ray::Trainer" in " ".join(process.info["cmdline"] or ())
    ]
    assert not psutil.wait_procs(trainers, timeout=DEADLINE)[1]
    done = run_command(tmp_path, *command)
    assert done.returncode == 0, done.stdout + done.stderr
    assert_exact(tmp_path)


@alone
@pytest.mark.parametrize(("how", "code"), [(signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_without_an_address_ray_starts_and_ends_with_the_run(
    how: int, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tempfile

    with tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as scratch:
        monkeypatch.setenv("TMPDIR", scratch)
        (tmp_path / "long.toml").write_text(LONG)
        command = ("run", "long.toml", "--data", "synthetic", "--executor", "ray", "--cpus-per-trial", "0.5")
        run = start_command(tmp_path, *command)
        wait_for_line(run, "epoch 2/8")
        assert processes_of(Path(scratch))
        run.send_signal(how)
        output, errors = run.communicate(timeout=DEADLINE)
        assert run.returncode == code, output + errors
        until(lambda: not processes_of(Path(scratch)))
        assert how == signal.SIGKILL or not list(Path(scratch).glob("ray-*"))
        if how == signal.SIGKILL:
            done = run_command(tmp_path, *command)
            assert done.returncode == 0, done.stdout + done.stderr
            assert "Ray on this machine: 0.5 CPUs a training" in done.stdout
            assert_exact(tmp_path)


@pytest.fixture
def source(tmp_path: Path) -> Source:
    return small_source(tmp_path)


def end_of(key: str) -> Callable[[Event], bool]:
    return lambda event: isinstance(event, Finished | Failed) and event.key == key


def trainer() -> psutil.Process:
    """The one worker of this process's cluster."""
    (found,) = [
        process
        for process in psutil.Process().children(recursive=True)
        if process.is_running() and "ray::Trainer" in " ".join(process.cmdline())
    ]
    return found


def events_until(executor: Any, ends: Callable[[Event], bool]) -> list[Event]:
    found: list[Event] = []
    end = time.monotonic() + DEADLINE
    while not (found and ends(found[-1])):
        assert time.monotonic() < end, found
        for event in executor.events(timeout=0.2):
            found.append(event)
            if ends(event):
                break
    return found


@alone
def test_a_killed_worker_goes_on_from_its_snapshot_and_the_third_death_is_a_failure(
    source: Source, tmp_path: Path
) -> None:
    from search.executors.ray import RayExecutor

    config = TrialConfig(depth=1, filters=4, epochs=400, dropout=0.2, hidden=16, ema=0.9)
    setup = Setup(source, SPLIT_SEED, "cpu", threads=1, snapshot_seconds=0.0)
    with RayExecutor(setup, Cluster(cpus_per_trial=0.5, max_workers=1)) as executor:
        assert executor.free() == 1
        executor.submit(Task("long", config, 0, "search", snapshot=tmp_path / "long.safetensors"))
        for attempt in range(3):
            events_until(executor, lambda event: isinstance(event, EpochEnd))
            until(lambda: bool(executor.events(timeout=0.1)) and (tmp_path / "long.safetensors").exists())
            trainer().kill()
            if attempt < 2:
                (again,) = [
                    event
                    for event in events_until(executor, lambda event: isinstance(event, Resumed))
                    if isinstance(event, Resumed)
                ]
                assert [point.number for point in again.curve] == list(range(1, len(again.curve) + 1))
        failed = events_until(executor, end_of("long"))[-1]
        assert isinstance(failed, Failed)
        assert "ended 3 times" in failed.reason
        assert not executor.running()
        executor.submit(Task("short", config.model_copy(update={"epochs": 2}), 0, "full", checkpoint=tmp_path / "kept"))
        assert isinstance(events_until(executor, end_of("short"))[-1], Finished)
        assert load_checkpoint(tmp_path / "kept").config.epochs == 2


@alone
def test_a_paused_training_goes_on_from_its_snapshot(source: Source, tmp_path: Path) -> None:
    from search.executors.ray import RayExecutor

    config = TrialConfig(depth=1, filters=4, epochs=400)
    snapshot = tmp_path / "paused.safetensors"
    with RayExecutor(Setup(source, SPLIT_SEED, "cpu", 1), Cluster(max_workers=1)) as executor:
        executor.submit(Task("paused", config, 0, "search", snapshot=snapshot))
        events_until(executor, lambda event: isinstance(event, EpochEnd))
        executor.stop("paused", pause=True)
        before = events_until(executor, end_of("paused"))
        assert isinstance(before[-1], Finished)
        assert snapshot.exists()
        executor.submit(Task("paused", config, 0, "search", snapshot=snapshot))
        (again,) = [
            event
            for event in events_until(executor, lambda event: isinstance(event, Resumed))
            if isinstance(event, Resumed)
        ]
        assert [point.number for point in again.curve] == list(range(1, len(again.curve) + 1))
        assert 1 <= len(again.curve) < 400
        executor.stop("paused")
        events_until(executor, end_of("paused"))


@alone
def test_a_stop_ends_the_training_after_its_epoch_and_a_silent_worker_is_replaced(source: Source) -> None:
    from search.executors.ray import RayExecutor

    config = TrialConfig(depth=1, filters=4, epochs=1000)
    with RayExecutor(Setup(source, SPLIT_SEED, "cpu", 1), Cluster(max_workers=1), trial_timeout=3.0) as executor:
        executor.submit(Task("stopped", config, 0, "search"))
        events_until(executor, lambda event: isinstance(event, EpochEnd))
        executor.stop("stopped")
        assert len(curve(events_until(executor, end_of("stopped")), "stopped")) < 1000
        executor.submit(Task("hung", config.model_copy(update={"epochs": 300}), 0, "search"))
        events_until(executor, lambda event: isinstance(event, EpochEnd) and event.key == "hung")
        trainer().suspend()
        found = events_until(executor, end_of("hung"))
        assert isinstance(found[-1], Finished)
        assert [number for number, _ in curve(found, "hung")][-300:] == list(range(1, 301))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--executor", "rya"), "Did you mean 'ray'?"),
        (("--address", "auto"), "--address can only be used with --executor ray"),
        (
            ("--gpus-per-trial", "0.5", "--max-workers", "3"),
            "--gpus-per-trial, --max-workers can only be used with --executor ray",
        ),
        (("--executor", "ray", "--workers", "2"), "use --max-workers instead of --workers"),
        (("--executor", "ray", "--device", "cpu"), "--gpus-per-trial instead of --device"),
        (("--executor", "ray", "--cpus-per-trial", "1.5"), "must be at most 1 or a whole number, got 1.5"),
        (("--executor", "ray", "--cpus-per-trial", "0"), "must use CPUs or GPUs"),
        (("--executor", "ray", "--address", "nowhere"), "must be auto or HOST:PORT, got 'nowhere'"),
        (("--executor", "ray", "--address", "127.0.0.1:1"), "nothing listens there"),
    ],
)
def test_what_does_not_go_together_is_refused(
    options: tuple[str, ...], says: str, say: Say, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    assert_refused(say, options, says)


@alone
def test_a_cluster_that_is_not_there_is_refused(say: Say, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    assert_refused(say, ("--executor", "ray", "--address", "auto"), "no Ray cluster answers")


def assert_refused(say: Say, options: tuple[str, ...], says: str) -> None:
    code, _, errors = say("run", "tiny.toml", "--data", "synthetic", *options)
    assert code == 2
    assert errors.startswith("Error: ")
    assert says in errors
