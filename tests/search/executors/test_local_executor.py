import multiprocessing
import os
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import optuna
import pytest

from fmnist.config import TrialConfig
from fmnist.data.sources import Source
from fmnist.machine import cores
from fmnist.snapshot import load_snapshot, save_snapshot
from search.errors import SearchError
from search.executors import EpochEnd, Event, Failed, Finished, Predicted, Resumed, Task
from search.executors.local import LocalExecutor
from search.executors.training import Setup
from search.job.interrupt import Interrupt
from search.job.progress.base import Progress
from search.job.search import optimize
from search.job.trainings import train_all
from search.storage.trial_record import CONFIG, CURVE
from search.study.study import Study
from tests.search.tiny import CLASSES, DEADLINE, PINNED, small_source, stage, surroundings, tiny_spec

pytestmark = pytest.mark.process

KILLED = "killed by the system, most likely because memory ran out, or by a user (exit code -9)"


def task(key: str, *, epochs: int = 2, seed: int = 0, checkpoint: Path | None = None, **knobs: object) -> Task:
    config = TrialConfig.parse(PINNED | {"epochs": epochs} | knobs, context=key)
    return Task(key, config, seed, images="search", checkpoint=checkpoint)


def setup_of(source: Source) -> Setup:
    return Setup(source, split_seed=0, device="cpu", threads=1)


def until(executor: LocalExecutor, condition: Callable[[list[Event]], object]) -> list[Event]:
    """All events up to the first batch after which `condition` holds for them."""
    found: list[Event] = []
    end = time.monotonic() + DEADLINE
    while not condition(found):
        assert time.monotonic() < end, f"only {found}"
        found += executor.events(timeout=1.0)
    return found


def is_over(key: str) -> Callable[[list[Event]], object]:
    return lambda found: [event for event in found if isinstance(event, Finished | Failed) and event.key == key]


def threads_of_workers() -> int:
    """How many threads the worker processes have in all."""
    return sum(len(list(Path(f"/proc/{worker.pid}/task").iterdir())) for worker in multiprocessing.active_children())


def trained(executor: LocalExecutor, *tasks: Task) -> list[Event]:
    for one in tasks:
        executor.submit(one)
    return until(executor, lambda found: all(is_over(one.key)(found) for one in tasks))


def curve(found: list[Event], key: str) -> list[tuple[int, float | None]]:
    return [
        (event.point.number, event.point.macro_f1)
        for event in found
        if isinstance(event, EpochEnd) and event.key == key
    ]


def workers() -> set[int]:
    return {process.pid for process in multiprocessing.active_children() if process.pid}


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def kill(pid: int) -> None:
    """The process is dead when this returns."""
    (process,) = [process for process in multiprocessing.active_children() if process.pid == pid]
    os.kill(pid, signal.SIGKILL)
    process.join(DEADLINE)
    assert process.exitcode == -signal.SIGKILL


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Source:
    return small_source(tmp_path_factory.mktemp("images"))


@pytest.fixture(scope="module")
def executor(source: Source) -> Iterator[LocalExecutor]:
    with LocalExecutor(setup_of(source), workers=1) as found:
        yield found


def test_a_task_reports_each_epoch_and_its_end(executor: LocalExecutor) -> None:
    assert executor.free() == 1
    executor.submit(task("one"))
    assert (executor.free(), executor.running()) == (0, ["one"])
    found = until(executor, is_over("one"))
    assert [number for number, _ in curve(found, "one")] == [1, 2]
    assert isinstance(found[-1], Finished)
    assert found[-1].seconds > 0
    assert (executor.free(), executor.running()) == (1, [])


def test_the_same_task_gives_the_same_values(executor: LocalExecutor) -> None:
    first, again, other = (curve(trained(executor, task("one", seed=seed)), "one") for seed in (0, 0, 1))
    assert first == again
    assert first != other


@pytest.mark.parametrize("unknown", [(), ("side", "class_weights")], ids=["now", "by an earlier version"])
def test_a_paused_task_goes_on_where_it_was(executor: LocalExecutor, unknown: tuple[str, ...], tmp_path: Path) -> None:
    undisturbed = curve(trained(executor, task("whole", epochs=6)), "whole")
    paused = replace(task("paused", epochs=6), snapshot=tmp_path / "snapshot")
    executor.submit(paused)
    until(executor, lambda found: curve(found, "paused"))
    executor.stop("paused", pause=True)
    before = until(executor, is_over("paused"))
    assert paused.snapshot is not None
    assert paused.snapshot.exists()
    assert isinstance(before[-1], Finished)
    snapshot, about = load_snapshot(paused.snapshot)
    for name in unknown:
        del about["training"]["config"][name]
    save_snapshot(paused.snapshot, snapshot, about)
    after = trained(executor, paused)
    (resumed,) = [event for event in after if isinstance(event, Resumed)]
    points = [(point.number, point.macro_f1) for point in resumed.curve]
    assert 1 <= len(points) < 6
    assert points + curve(after, "paused") == undisturbed
    assert [event for event in after if isinstance(event, Predicted)], "it was trained to its last epoch"


def test_a_stopped_task_ends_after_its_epoch(executor: LocalExecutor) -> None:
    executor.submit(task("long", epochs=1000))
    before = until(executor, lambda found: curve(found, "long"))
    executor.stop("long")
    after = until(executor, is_over("long"))
    assert isinstance(after[-1], Finished)
    assert len(curve(before + after, "long")) < 1000


def test_a_stop_that_comes_too_late_stops_nothing_else(executor: LocalExecutor) -> None:
    executor.submit(task("first", epochs=1))
    until(executor, lambda found: curve(found, "first"))
    executor.stop("first")
    executor.stop("unknown")
    if executor.running():
        until(executor, is_over("first"))
    executor.stop("first")
    assert len(curve(trained(executor, task("second", epochs=3)), "second")) == 3


def test_a_diverging_task_fails_as_such(executor: LocalExecutor) -> None:
    found = trained(executor, task("wild", learning_rate=1.0, batch_norm=False, head="flatten", pool="after"))
    assert isinstance(found[-1], Failed)
    assert (found[-1].kind, found[-1].reason.split(":")[0]) == ("diverged", "diverged")


def test_an_error_fails_its_task_with_its_reason_and_the_worker_goes_on(
    executor: LocalExecutor, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    before = workers()
    found = trained(executor, task("broken", checkpoint=tmp_path / "file" / "checkpoint"))
    assert isinstance(found[-1], Failed)
    assert found[-1].kind == "error"
    assert f"{tmp_path / 'file' / 'checkpoint'} must be writable" in found[-1].reason
    assert isinstance(trained(executor, task("next"))[-1], Finished)
    assert workers() == before


def test_a_fixed_training_that_fails_is_one_clean_error(executor: LocalExecutor, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    broken = task("seed 5", checkpoint=tmp_path / "file" / "to")
    alone = stage(Study(optuna.create_study()), tiny_spec(), executor, Progress())
    with pytest.raises(SearchError, match=r"The training of seed 5 failed: .*run again to resume"):
        train_all(alone, "final", [broken], lambda *_: None, lambda *_: None)


def test_an_idle_worker_that_died_is_replaced_when_a_task_comes(executor: LocalExecutor) -> None:
    trained(executor, task("warm"))
    (pid,) = workers()
    kill(pid)
    found = trained(executor, task("next"))
    assert [number for number, _ in curve(found, "next")] == [1, 2]
    assert workers() != {pid}


def test_a_worker_that_died_in_the_middle_of_a_message_is_replaced_and_its_task_trained(
    executor: LocalExecutor,
) -> None:
    trained(executor, task("warm"))
    executor.submit(task("cut", epochs=1000))
    until(executor, lambda found: curve(found, "cut"))
    (pid,) = workers()
    ours, theirs = multiprocessing.Pipe()
    os.write(theirs.fileno(), struct.pack("!i", 500_000) + b"the beginning of what 10,000 images are told to be")
    theirs.close()
    own, executor._pool[0].pipe = executor._pool[0].pipe, ours  # its own may hold whole messages yet
    kill(pid)
    until(executor, lambda _: workers() not in ({pid}, set()))
    own.close()  # not before: a worker that finds its pipe closed ends by itself
    executor.stop("cut")
    until(executor, is_over("cut"))
    assert isinstance(trained(executor, task("next"))[-1], Finished)


def test_a_stopped_task_whose_worker_died_is_not_trained_again(executor: LocalExecutor) -> None:
    executor.submit(task("long", epochs=1000))
    until(executor, lambda found: curve(found, "long"))
    (pid,) = workers()
    kill(pid)
    executor.stop("long")
    found = until(executor, is_over("long"))
    assert isinstance(found[-1], Finished)
    assert not executor.running()


@pytest.mark.slow
def test_a_killed_workers_trial_completes_as_if_nothing_had_happened(
    source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    spec = tiny_spec(trials=1, epochs=3)
    study = Study(optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed=0)))

    class KillOnce(Progress):
        left = 1

        def epoch(self, label: str, number: int, macro_f1: float | None, images_per_second: float) -> None:  # noqa: ARG002
            if self.left and number == 1:
                self.left = 0
                (pid,) = workers() - others
                kill(pid)

    others = workers()
    with LocalExecutor(setup_of(source), workers=1) as executor:
        optimize(stage(study, spec, executor, KillOnce(), Interrupt()), CLASSES)
        (trial,) = study.optuna.trials
        same = Task(
            "same",
            TrialConfig.parse(trial.system_attrs[CONFIG], context="trial"),
            trial.user_attrs["seed"],
            images="search",
        )
        expected = curve(trained(executor, same), "same")
        mine = workers() - others
    assert trial.state == optuna.trial.TrialState.COMPLETE
    assert [(point["number"], point["macro_f1"]) for point in trial.system_attrs[CURVE]] == expected
    assert not any(is_alive(pid) for pid in mine)


@pytest.mark.slow
def test_a_task_whose_worker_dies_three_times_fails(source: Source) -> None:
    others = workers()
    with LocalExecutor(setup_of(source), workers=1) as executor:
        executor.submit(task("deadly", epochs=1000))
        for death in range(3):
            if death:
                assert executor.running() == ["deadly"]
            until(executor, lambda found: curve(found, "deadly"))
            (pid,) = workers() - others
            kill(pid)
        (failed,) = until(executor, is_over("deadly"))[-1:]
    assert isinstance(failed, Failed)
    assert (failed.kind, failed.reason) == ("memory", "its worker process ended 3 times, the last time: " + KILLED)


@pytest.mark.slow
def test_a_killed_coordinator_leaves_no_workers(source: Source, tmp_path: Path) -> None:
    script = tmp_path / "coordinator.py"
    script.write_text(
        "import multiprocessing\n"
        "from pathlib import Path\n"
        "from fmnist.data.sources import Source\n"
        "from search.executors.local import LocalExecutor\n"
        "from search.executors.training import Setup\n"
        "from tests.search.executors.test_local_executor import task\n"
        "if __name__ == '__main__':\n"
        f"    with LocalExecutor(Setup(Source('drawn', Path({str(source.root)!r})), 0, 'cpu', 1), workers=1) as "
        "executor:\n"
        "        executor.submit(task('long', epochs=1000))\n"
        "        while not executor.events(timeout=1.0):\n"
        "            pass\n"
        "        print(*[process.pid for process in multiprocessing.active_children()], flush=True)\n"
        "        while True:\n"
        "            executor.events(timeout=1.0)\n"
    )
    root = str(Path(__file__).parents[3])
    coordinator = subprocess.Popen(
        [sys.executable, script], env=surroundings(PYTHONPATH=root), stdout=subprocess.PIPE, text=True
    )
    with coordinator:
        assert coordinator.stdout is not None
        pids = [int(pid) for pid in coordinator.stdout.readline().split()]
        coordinator.kill()
    assert pids
    end = time.monotonic() + DEADLINE
    while any(is_alive(pid) for pid in pids):
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_task_may_have_more_threads_than_a_worker_usually_has(source: Source) -> None:
    with LocalExecutor(setup_of(source), 1) as executor:
        trained(executor, task("usual"))
        usual = threads_of_workers()
        trained(executor, replace(task("more"), threads=3))
        assert threads_of_workers() >= usual + 2


def test_few_trainings_share_the_cores_and_more_take_turns_but_on_a_gpu(source: Source) -> None:
    executor = LocalExecutor(setup_of(source), 2)
    assert executor.threads_of_each(1) == [2 if cores() > 1 else None]
    assert executor.turns_of_each(3) == [1, 0.5, 1]
    on_a_gpu = LocalExecutor(replace(setup_of(source), device="cuda"), 2)
    assert on_a_gpu.threads_of_each(1) == [None]
    assert on_a_gpu.turns_of_each(3) == [1, 1, 1]
