"""Worker processes that share a CUDA device. Without one these are skipped."""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch

from fmnist.data.sources import Source
from fmnist.data.splits import search_splits
from fmnist.train import Epoch, fit
from search.executors import EpochEnd, Event, Finished, Message, Resumed
from search.executors.local import LocalExecutor
from search.executors.training import Setup
from search.executors.worker import serve
from tests.search.executors.test_local_executor import curve, is_over, kill, task, trained, until, workers
from tests.search.tiny import small_source

KNOBS: dict[str, Any] = {"dropout": 0.2, "augmentation": 0.5, "ema": 0.98, "schedule": "triangle"}
pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Source:
    return small_source(tmp_path_factory.mktemp("images"))


@pytest.fixture
def setup(source: Source) -> Setup:
    return Setup(source, split_seed=0, device="cuda", threads=1, snapshot_seconds=0.0)


def test_two_workers_side_by_side_train_as_one_process_alone(setup: Setup) -> None:
    tasks = [task(str(seed), epochs=3, seed=seed, **KNOBS) for seed in range(4)]
    with LocalExecutor(setup, workers=2) as executor:
        found = trained(executor, *tasks)
    splits = search_splits(setup.source, seed=0)
    for one in tasks:
        alone = [
            (epoch.number, epoch.macro_f1)
            for epoch in fit(one.config, *splits, seed=one.seed, device=torch.device("cuda"))
        ]
        assert curve(found, one.key) == alone


def test_a_killed_worker_leaves_its_training_to_the_next_from_its_snapshot(setup: Setup, tmp_path: Path) -> None:
    long = replace(task("long", epochs=60, **KNOBS), snapshot=tmp_path / "snapshot")
    with LocalExecutor(setup, workers=1) as executor:
        undisturbed = curve(trained(executor, replace(long, snapshot=None)), "long")
        executor.submit(long)
        before = until(
            executor, lambda found: len(curve(found, "long")) >= 5 and long.snapshot and long.snapshot.exists()
        )
        (worker,) = workers()
        kill(worker)
        after = until(executor, is_over("long"))
    assert isinstance(after[-1], Finished)
    assert whole(before + after) == undisturbed


def test_a_worker_that_is_killed_beside_another_disturbs_neither_training(setup: Setup, tmp_path: Path) -> None:
    tasks = [
        replace(task(str(seed), epochs=40, seed=seed, **KNOBS), snapshot=tmp_path / str(seed)) for seed in range(2)
    ]
    with LocalExecutor(setup, workers=2) as executor:
        undisturbed = trained(executor, *(replace(one, snapshot=None) for one in tasks))
        for one in tasks:
            executor.submit(one)
        before = until(executor, lambda found: all(len(curve(found, one.key)) >= 3 for one in tasks))
        kill(min(workers()))
        after = until(executor, lambda found: all(is_over(one.key)(found) for one in tasks))
    for one in tasks:
        mine = [event for event in before + after if event.key == one.key]
        assert isinstance(mine[-1], Finished)
        assert whole(mine) == curve(undisturbed, one.key)


def break_once(mark: Path, *arguments: Any, **options: Any) -> Iterator[Epoch]:
    """Trains, and in the first process of all breaks the device's context after two epochs, by reading past the end of
    a tensor.
    """
    for epoch in fit(*arguments, **options):
        yield epoch
        if epoch.number == 2 and not mark.exists():
            mark.touch()
            torch.zeros(1, device="cuda")[torch.tensor([5], device="cuda")].item()


def serve_breaking(mark: Path, pipe: Connection, setup: Setup, environ: dict[str, str]) -> None:
    """A worker that trains so."""
    with patch("search.executors.training.fit", partial(break_once, mark)):
        serve(pipe, setup, environ)


def test_a_worker_whose_context_broke_leaves_its_training_to_a_new_process(
    setup: Setup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = replace(task("long", epochs=6, **KNOBS), snapshot=tmp_path / "snapshot")
    with LocalExecutor(setup, workers=1) as executor:
        undisturbed = curve(trained(executor, replace(long, snapshot=None)), "long")
    monkeypatch.setattr("search.executors.local.serve", partial(serve_breaking, tmp_path / "mark"))
    with LocalExecutor(setup, workers=1) as executor:
        found = trained(executor, long)
    assert isinstance(found[-1], Finished)
    (note,) = [event.text for event in found if isinstance(event, Message)]
    assert "cuda failed: " in note
    assert whole(found) == undisturbed


def whole(found: list[Event]) -> list[tuple[int, float | None]]:
    """The curve as a coordinator keeps it: what a second try says of an epoch replaces what the first one said."""
    curve: dict[int, float | None] = {}
    for event in found:
        match event:
            case EpochEnd(point=point):
                curve[point.number] = point.macro_f1
            case Resumed(curve=earlier):
                curve |= {point.number: point.macro_f1 for point in earlier}
    return list(curve.items())
