"""Workers that are killed, hang, run out of memory or cannot start: what was computed is kept, and the reason is
written down.
"""

import os
import resource
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from fmnist.data.sources import Source
from fmnist.snapshot import load_snapshot
from search.errors import SearchError
from search.executors import EpochEnd, Event, Failed, Finished, Message, Resumed, Task, attempts
from search.executors.local import LocalExecutor
from search.executors.training import Setup
from tests.search.executors.test_local_executor import curve, is_over, kill, setup_of, task, trained, until, workers
from tests.search.tiny import small_source

EPOCHS = 120


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Source:
    return small_source(tmp_path_factory.mktemp("images"))


@pytest.fixture(scope="module")
def undisturbed(source: Source) -> list[tuple[int, float | None]]:
    with LocalExecutor(setup_of(source), workers=1) as executor:
        return curve(trained(executor, long()), "long")


def eager(source: Source) -> Setup:
    """Workers that keep a snapshot as often as its cost allows."""
    return Setup(source, split_seed=0, device="cpu", threads=1, snapshot_seconds=0.0)


def long(snapshot: Path | None = None) -> Task:
    plain = task("long", epochs=EPOCHS, dropout=0.2, augmentation=0.5, ema=0.98, schedule="triangle")
    return Task(plain.key, plain.config, plain.seed, plain.images, snapshot=snapshot)


def resumed(found: list[Event]) -> list[Resumed]:
    return [event for event in found if isinstance(event, Resumed)]


def pid_of(others: set[int]) -> int:
    (pid,) = workers() - others
    return pid


def whole_curve(found: list[Event]) -> list[tuple[int, float | None]]:
    """As the coordinator keeps it: what a second try says of an epoch replaces what the first one said."""
    said: dict[int, float | None] = {}
    for event in found:
        match event:
            case EpochEnd():
                said[event.point.number] = event.point.macro_f1
            case Resumed():
                said |= {point.number: point.macro_f1 for point in event.curve}
    return sorted(said.items())


@pytest.mark.slow
def test_a_killed_workers_task_goes_on_at_its_epoch_with_the_same_figures(
    source: Source, undisturbed: list[tuple[int, float | None]], tmp_path: Path
) -> None:
    others, path = workers(), tmp_path / "long.safetensors"
    with LocalExecutor(eager(source), workers=1) as executor:
        executor.submit(long(path))
        before = until(executor, lambda _: path.exists())
        kill(pid_of(others))
        after = until(executor, is_over("long"))
    assert isinstance(after[-1], Finished)
    (again,) = resumed(after)
    assert again.curve
    assert min(number for number, _ in curve(after[after.index(again) :], "long")) == again.curve[-1].number + 1
    assert whole_curve(before + after) == undisturbed


@pytest.mark.slow
def test_a_new_executor_goes_on_where_a_dead_one_was(
    source: Source, undisturbed: list[tuple[int, float | None]], tmp_path: Path
) -> None:
    path = tmp_path / "long.safetensors"
    with LocalExecutor(eager(source), workers=1) as executor:
        executor.submit(long(path))
        until(executor, lambda _: path.exists())
    kept, _ = load_snapshot(path)
    with LocalExecutor(eager(source), workers=1) as executor:
        found = trained(executor, long(path))
    assert resumed(found)[0].curve[-1].number >= kept.epoch
    assert whole_curve(found) == undisturbed
    later = [event.point for event in found if isinstance(event, EpochEnd)]
    seconds = [point.seconds or 0.0 for point in (*resumed(found)[0].curve, *later)]
    assert seconds == sorted(seconds)  # of both tries together
    assert isinstance(found[-1], Finished)
    assert found[-1].seconds >= seconds[-1]


@pytest.mark.slow
def test_the_snapshot_of_another_training_is_left_alone(source: Source, tmp_path: Path) -> None:
    path = tmp_path / "long.safetensors"
    with LocalExecutor(eager(source), workers=1) as executor:
        executor.submit(long(path))
        until(executor, lambda _: path.exists())
    with LocalExecutor(eager(source), workers=1) as executor:
        other = task("long", epochs=2, seed=1)
        found = trained(executor, Task(other.key, other.config, other.seed, other.images, snapshot=path))
        assert not resumed(found)
        path.write_bytes(path.read_bytes()[:1000])
        found = trained(executor, Task(other.key, other.config, 0, other.images, snapshot=path))
    assert not resumed(found)
    (note,) = [event for event in found if isinstance(event, Message)]
    text = f"starts from the beginning, its snapshot cannot be used: {path} must be the snapshot of a training"
    assert note.text.startswith(text)
    assert [number for number, _ in curve(found, "long")] == [1, 2]


@pytest.mark.slow
def test_without_room_for_snapshots_a_training_goes_on_and_says_so(
    source: Source, undisturbed: list[tuple[int, float | None]], tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    with LocalExecutor(eager(source), workers=1) as executor:
        found = trained(executor, long(tmp_path / "file" / "long.safetensors"))
    assert isinstance(found[-1], Finished)
    assert curve(found, "long") == undisturbed
    notes = [event.text for event in found if isinstance(event, Message)]
    assert notes
    assert all("no snapshot: " in note and "must be writable" in note for note in notes)


@pytest.mark.slow
def test_a_hung_worker_is_replaced_and_its_task_goes_on(
    source: Source, undisturbed: list[tuple[int, float | None]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempts, "SILENCE", 1.0)  # an epoch takes a hundredth of that
    others, path = workers(), tmp_path / "long.safetensors"
    with LocalExecutor(eager(source), workers=1) as executor:
        executor.submit(long(path))
        before = until(executor, lambda found: path.exists() and curve(found, "long"))
        stopped = pid_of(others)
        os.kill(stopped, signal.SIGSTOP)
        after = until(executor, is_over("long"))
        assert pid_of(others) != stopped
    assert isinstance(after[-1], Finished)
    assert resumed(after)
    assert whole_curve(before + after) == undisturbed


@pytest.mark.slow
def test_a_task_that_hangs_three_times_fails_with_its_reason(source: Source) -> None:
    others = workers()
    with LocalExecutor(setup_of(source), workers=1, trial_timeout=1.0) as executor:
        executor.submit(task("deadly", epochs=1000))
        found: list[Event] = []
        stopped: set[int] = set()
        while not is_over("deadly")(found):
            found += until(executor, lambda found: curve(found, "deadly") or is_over("deadly")(found))
            for pid in workers() - others - stopped:
                os.kill(pid, signal.SIGSTOP)
                stopped.add(pid)
    assert isinstance(found[-1], Failed)
    assert found[-1].kind == "error"
    assert found[-1].reason.startswith("its worker process ended 3 times, the last time: no message for ")
    assert executor.free() == 1


@pytest.mark.process
def test_running_out_of_memory_fails_the_task_as_such_and_the_worker_goes_on(source: Source) -> None:
    others = workers()
    with LocalExecutor(setup_of(source), workers=1) as executor:
        trained(executor, task("warm"))
        pid = pid_of(others)
        addresses = int(Path(f"/proc/{pid}/statm").read_text().split()[0]) * resource.getpagesize()
        resource.prlimit(pid, resource.RLIMIT_AS, (addresses + 2**29, resource.RLIM_INFINITY))
        large = trained(executor, task("large", filters=512, blocks=4, batch_size=400))
        small = trained(executor, task("small"))
        assert pid_of(others) == pid
    assert isinstance(large[-1], Failed)
    assert large[-1].kind == "memory"
    assert large[-1].reason.startswith("out of memory on cpu: ")
    assert isinstance(small[-1], Finished)


@pytest.mark.process
def test_a_hopeless_configuration_is_refused_before_it_takes_memory(source: Source) -> None:
    with LocalExecutor(setup_of(source), workers=1) as executor:
        (failed,) = trained(executor, task("huge", filters=512, blocks=4, depth=4, growth=4.0, batch_size=4096))
    assert isinstance(failed, Failed)
    assert failed.kind == "memory"
    assert "a step takes at least" in failed.reason


@pytest.mark.slow
def test_workers_that_cannot_start_stop_the_run_with_the_reason(tmp_path: Path) -> None:
    with LocalExecutor(setup_of(Source("gone", tmp_path)), workers=1) as executor:
        executor.submit(task("one"))
        with pytest.raises(SearchError, match="3 worker processes in a row ended before they could train: exit code 1"):
            until(executor, is_over("one"))


@pytest.mark.process
def test_a_slow_network_is_not_trained(source: Source) -> None:
    with LocalExecutor(setup_of(source), workers=1) as executor:
        slow = trained(executor, replace(task("slow"), max_latency_ms=1e-6))
        quick = trained(executor, replace(task("quick"), max_latency_ms=1e6))
    assert isinstance(slow[-1], Failed)
    assert slow[-1].kind == "latency"
    assert not curve(slow, "slow")
    assert isinstance(quick[-1], Finished)
