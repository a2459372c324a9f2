"""The precision of a training: decided once for a run, and part of its snapshots."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch

from fmnist.data.sources import Source
from fmnist.snapshot import load_snapshot
from search.executors import EpochEnd, Event, Message, Resumed, Task
from search.executors.local import LocalExecutor
from search.executors.ray_worker import Trainer
from search.executors.training import Setup, Unusable, events_of, load_material
from search.job.place import choose_place
from tests.search.executors.test_local_executor import task, trained
from tests.search.tiny import small_source

NOTE = "bfloat16 is not used"
Processor = Callable[[float], None]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Source:
    return small_source(tmp_path_factory.mktemp("images"))


@pytest.fixture
def processor(monkeypatch: pytest.MonkeyPatch) -> Processor:
    """Gives this process, and no other, a processor that takes this time in bfloat16, relative to float32."""

    def give(time: float) -> None:
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})
        monkeypatch.setattr("fmnist.precision.bfloat16_time", lambda: time)

    return give


@pytest.fixture
def kept(tmp_path: Path) -> Task:
    plain = task("kept", epochs=3)
    return Task(plain.key, plain.config, plain.seed, plain.images, snapshot=tmp_path / "snapshot")


def events(kept: Task, source: Source, *, mixed: bool | None) -> list[Event | Unusable]:
    setup = Setup(source, split_seed=0, device="cpu", threads=1, snapshot_seconds=0.0, mixed=mixed)
    return list(events_of(kept, setup, load_material(setup), lambda _: None))


def notes(found: list[Event | Unusable]) -> list[str]:
    return [event.text for event in found if isinstance(event, Message)]


@pytest.mark.parametrize(("before", "now"), [("float32", "bfloat16"), ("bfloat16", "float32")])
def test_a_training_in_the_other_precision_starts_again_and_says_so(
    before: str, now: str, kept: Task, source: Source
) -> None:
    whole = events(kept, source, mixed=now == "bfloat16")
    assert kept.snapshot
    kept.snapshot.unlink()
    assert notes(events(kept, source, mixed=before == "bfloat16")) == []
    found = events(kept, source, mixed=now == "bfloat16")
    assert notes(found) == [
        f"starts from the beginning: its snapshot was trained in {before}, and this run trains in {now}"
    ]
    losses = [[event.point.train_loss for event in one if isinstance(event, EpochEnd)] for one in (found, whole)]
    assert losses[0] == losses[1]
    resumed = events(kept, source, mixed=now == "bfloat16")  # from the snapshot that this training left
    assert notes(resumed) == []
    assert isinstance(resumed[0], Resumed)


@pytest.mark.process
@pytest.mark.parametrize(("time", "mixed"), [(0.5, True), (3.0, False)])
def test_workers_train_as_their_run_decided_and_it_says_why(
    time: float, mixed: bool, source: Source, kept: Task, processor: Processor, monkeypatch: pytest.MonkeyPatch
) -> None:
    processor(time)
    monkeypatch.setattr("search.job.place.Setup", partial(Setup, snapshot_seconds=0.0))
    said: list[str] = []
    with choose_place({"workers": 1, "device": "cpu"}).open(source, said.append) as (executor, environment):
        assert isinstance(executor, LocalExecutor)
        trained(executor, kept)
    assert kept.snapshot
    assert load_snapshot(kept.snapshot)[1]["training"]["mixed"] is mixed
    assert environment.device == ("cpu, bfloat16" if mixed else "cpu")
    assert [text.partition(":")[0] for text in said] == ([] if mixed else [NOTE])


def test_a_worker_of_a_cluster_decides_for_its_machine_and_says_so_once(
    source: Source, kept: Task, processor: Processor
) -> None:
    processor(3.0)
    setup = Setup(source, split_seed=0, device="cpu", threads=torch.get_num_threads(), snapshot_seconds=0.0)
    material = load_material(setup)
    trainer = Trainer(setup, material.splits, material.full(), material.origin)
    first, second = (list(trainer.train(kept, None, is_kept=False, teachers=())) for _ in range(2))
    assert [event.text.partition(":")[0] for event in first if isinstance(event, Message)] == [NOTE]
    assert not [event for event in second if isinstance(event, Message)]
