"""What CUDA leaves of a worker process when it fails: a new process takes its place. The faults are raised in real
workers.
"""

from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from fmnist.data.sources import Source
from search.executors import Failed, Finished, Message, Task
from search.executors.local import LocalExecutor
from search.executors.training import Setup
from tests.search.executors.faulty_device import BROKEN, ERRORS, FAULT, serve_faulty
from tests.search.executors.test_local_executor import curve, is_over, task, trained, until, workers
from tests.search.tiny import small_source

pytestmark = pytest.mark.process

MEMORY = [message for message in ERRORS if "memory." in message or "ALLOC" in message]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Source:
    return small_source(tmp_path_factory.mktemp("images"))


def failing(source: Source, message: str, times: int, folder: Path, monkeypatch: pytest.MonkeyPatch) -> LocalExecutor:
    folder.mkdir()
    monkeypatch.setattr("search.executors.local.serve", partial(serve_faulty, message, times, folder))
    return LocalExecutor(Setup(source, split_seed=0, device="cuda", threads=1, snapshot_seconds=0.0), workers=1)


def broken(tmp_path: Path) -> Task:
    return replace(task("broken", epochs=4, seed=BROKEN), snapshot=tmp_path / "snapshot")


@pytest.mark.parametrize("message", [FAULT, "cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"])
def test_a_fault_of_cuda_ends_its_process_and_the_task_goes_on_in_a_new_one(
    message: str, source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    with failing(source, message, 1, tmp_path / "faults", monkeypatch) as executor:
        found = trained(executor, broken(tmp_path))
        expected = curve(trained(executor, task("sound", epochs=4, seed=BROKEN)), "sound")
        (fault,) = (tmp_path / "faults").iterdir()
        assert int(fault.name) not in workers()
    assert isinstance(found[-1], Finished)
    (note,) = [event.text for event in found if isinstance(event, Message)]
    assert note == f"its worker process became unusable: cuda failed: {message}"
    assert dict(curve(found, "broken")) == dict(expected)
    assert "Traceback" not in capfd.readouterr().err


def test_a_task_that_meets_a_fault_in_three_processes_fails_with_it(
    source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with failing(source, FAULT, 3, tmp_path / "faults", monkeypatch) as executor:
        found = trained(executor, replace(broken(tmp_path), snapshot=None))
        assert isinstance(trained(executor, task("next"))[-1], Finished)
    assert isinstance(found[-1], Failed)
    assert (found[-1].kind, found[-1].reason) == (
        "error",
        f"its worker process ended 3 times, the last time: cuda failed: {FAULT}",
    )
    assert len(list((tmp_path / "faults").iterdir())) == 3


@pytest.mark.parametrize("message", [*MEMORY, "a bug in the middle of a capture"])
def test_after_any_other_error_on_cuda_the_task_has_failed_and_a_new_process_trains_the_next(
    message: str, source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with failing(source, message, 1, tmp_path / "faults", monkeypatch) as executor:
        executor.submit(replace(broken(tmp_path), snapshot=None))
        executor.submit(task("next"))
        found = until(executor, is_over("next"))
        (fault,) = (tmp_path / "faults").iterdir()
        assert int(fault.name) not in workers()
    (failed,) = [event for event in found if isinstance(event, Failed)]
    assert failed.kind == ("memory" if message in MEMORY else "error")
    assert message in failed.reason
    assert [number for number, _ in curve(found, "broken")] == [1, 2]
    assert isinstance(found[-1], Finished)


def test_what_fails_by_a_rule_of_the_toolkit_leaves_the_process_as_it_was(
    source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with failing(source, FAULT, 0, tmp_path / "faults", monkeypatch) as executor:
        trained(executor, task("warm"))
        before = workers()
        (refused,) = trained(executor, task("huge", filters=512, blocks=4, depth=4, growth=4.0, batch_size=4096))
        diverged = trained(executor, task("wild", learning_rate=1.0, batch_norm=False, head="flatten", pool="after"))
        assert workers() == before
    assert isinstance(refused, Failed)
    assert refused.kind == "memory"
    assert isinstance(diverged[-1], Failed)
    assert diverged[-1].kind == "diverged"
