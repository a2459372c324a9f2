"""As test_unusable_workers.py, on a Ray cluster of this machine."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fmnist.data.sources import Source
from fmnist.data.splits import SPLIT_SEED
from search.executors import Event, Failed, Finished, Message
from search.executors.cluster import Cluster
from search.executors.training import Setup
from tests.search.executors.faulty_device import BROKEN, ERRORS, FAULT, faulty
from tests.search.executors.test_local_executor import curve, task
from tests.search.executors.test_ray import end_of, events_until

ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'fmnist-search[cluster]'")
from search.executors.ray import RayExecutor  # noqa: E402
from search.executors.ray_worker import Trainer  # noqa: E402
from tests.search.tiny import small_source  # noqa: E402

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.slow,
    pytest.mark.filterwarnings("default"),
    pytest.mark.usefixtures("ray_alone"),
]
OUT_OF_MEMORY = next(message for message in ERRORS if message.startswith("CUDA out of memory"))


@pytest.fixture
def source(tmp_path: Path) -> Source:
    return small_source(tmp_path)


def trainer_of(message: str, folder: Path) -> type[Trainer]:
    """Of a worker whose device fails in its first process."""

    class Faulty(Trainer):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            # For good: a task may begin before the one before it has left `train`.
            self._device = faulty(message, 1, folder)
            self._device.__enter__()

    return Faulty


@pytest.mark.parametrize("message", [FAULT, OUT_OF_MEMORY])
def test_a_worker_that_is_of_no_more_use_is_replaced(
    message: str, source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder := tmp_path / "faults").mkdir()
    monkeypatch.setattr("search.executors.ray.Trainer", trainer_of(message, folder))
    broken = replace(task("broken", epochs=4, seed=BROKEN), snapshot=tmp_path / "snapshot")
    setup = Setup(source, SPLIT_SEED, "cuda", threads=1, snapshot_seconds=0.0)
    with RayExecutor(setup, Cluster(cpus_per_trial=0.5, max_workers=1)) as executor:
        executor.submit(broken)
        found: list[Event] = events_until(executor, end_of("broken"))
        assert executor.free() == 1
        executor.submit(task("next"))
        assert isinstance(events_until(executor, end_of("next"))[-1], Finished)
    notes = [event.text for event in found if isinstance(event, Message)]
    if message == FAULT:
        assert notes == [f"its worker process became unusable: cuda failed: {FAULT}"]
        assert isinstance(found[-1], Finished)
        assert {number for number, _ in curve(found, "broken")} == {1, 2, 3, 4}
    else:
        assert notes == []
        assert isinstance(found[-1], Failed)
        assert found[-1].kind == "memory"
