"""How many trainings share a device, and what that costs each: plain arithmetic on what the device says."""

from collections import deque
from functools import partial
from heapq import heappop, heappush
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fmnist.config import TrialConfig
from fmnist.data.images import SIDE
from fmnist.network import describe
from fmnist.scoring import BATCH
from search.errors import SearchError
from search.executors import capacity
from search.executors.capacity import CUDA_ITSELF, memory_of_each, slowdown, threads_of_each, turns_of_each
from search.job.estimate import trainings_seconds
from search.job.place import Place
from tests.search.tiny import CLASSES, DATA

CPU, CUDA, APPLE = torch.device("cpu"), torch.device("cuda"), torch.device("mps")
# Trials an hour of networks as in `standard`, by how many train side by side (studies/LOG.md, 2026-11-27).
BY_MPS = {1: 753, 2: 1036, 4: 1197, 8: 1230, 16: 1207}
BY_TURNS = {1: 851, 2: 785, 4: 785, 8: 787, 16: 791}
least_memory = partial(capacity.least_memory, mixed=True)
PLAIN: dict[str, Any] = {"depth": 3, "filters": 32, "growth": 2.0, "batch_norm": True, "augmentation": 0.5}


@pytest.fixture(params=[True, False])
def has_mps(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    monkeypatch.setattr("search.executors.capacity.can_share", lambda: request.param)
    return bool(request.param)


def test_trainings_slow_each_other_down_only_on_a_gpu(has_mps: bool) -> None:
    assert [slowdown(CPU, workers) for workers in (1, 2, 8)] == [1.0, 1.0, 1.0]
    assert slowdown(CUDA, 1) == 1.0
    assert (slowdown(CUDA, 8) < 8) == has_mps


def test_trainings_slow_each_other_down_as_was_measured(has_mps: bool) -> None:
    measured = BY_MPS if has_mps else BY_TURNS
    for workers, together in measured.items():
        assert slowdown(CUDA, workers) == pytest.approx(workers * measured[1] / together, rel=0.03)


def test_a_gpus_memory_is_divided_and_a_machines_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("search.executors.capacity.free_memory", lambda _: 80 * 2**30)
    assert memory_of_each(CUDA, 8) == 10 * 2**30 - CUDA_ITSELF
    assert memory_of_each(CPU, 8) == 80 * 2**30
    assert memory_of_each(CUDA, 1000) == 0


def test_the_images_that_are_made_ready_on_a_gpu_count() -> None:
    """The tensors of this training took 0.56 GiB on an H200 (studies/LOG.md, 2026-11-27), of which its steps are a
    fiftieth.
    """
    plain = TrialConfig(**PLAIN)
    assert describe(plain, CLASSES).training_floor(mixed=True) < 0.02 * 2**30
    assert 0.3 * 2**30 < least_memory(plain, CLASSES, 60_000, CUDA) <= 0.56 * 2**30
    assert least_memory(plain, CLASSES, 1_000, CUDA) < least_memory(
        plain, CLASSES, 60_000, CUDA
    )  # there are no more to make ready
    untouched = plain.model_copy(update={"augmentation": 0.0})
    assert least_memory(untouched, CLASSES, 60_000, CUDA) < least_memory(plain, CLASSES, 60_000, CUDA)


@pytest.mark.parametrize("device", [CUDA, APPLE])
def test_the_large_batches_in_which_a_gpu_scores_count(device: torch.device) -> None:
    wide = TrialConfig(**PLAIN | {"filters": 256, "batch_size": 64})
    scored = BATCH * 256 * SIDE**2 * 4  # the first convolution's maps, in float32
    assert describe(wide, CLASSES).training_floor(mixed=True) < scored < least_memory(wide, CLASSES, 60_000, device)


@pytest.mark.parametrize(
    ("count", "workers", "threads", "each"),
    [
        (3, 2, 1, [None, None, None]),
        (1, 2, 1, [2]),
        (4, 2, 1, [None, None, None, None]),
        (5, 4, 2, [None, None, None, None, None]),
        (3, 4, 1, [None, None, None]),
        (3, 8, 1, [2, 2, 2]),
        (3, 1, 8, [None, None, None]),
        (1, 16, 1, [8]),  # more workers than cores
        (0, 2, 1, []),
    ],
)
def test_trainings_that_are_fewer_than_the_workers_share_the_cores(
    count: int, workers: int, threads: int, each: list[int | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("search.executors.capacity.cores", lambda: 8)
    assert threads_of_each(count, workers, threads) == each


@pytest.mark.parametrize(
    ("count", "workers", "turns"),
    [
        (3, 2, [1, 0.5, 1]),
        (5, 2, [1, 1, 0.5, 1, 1]),
        (4, 3, [1, 2 / 3, 1 / 3, 1]),
        (4, 2, [1, 1, 1, 1]),
        (2, 2, [1, 1]),
        (2, 3, [1, 1]),
        (3, 1, [1, 1, 1]),
        (0, 2, []),
    ],
)
def test_a_training_pauses_where_two_workers_share_it(count: int, workers: int, turns: list[float]) -> None:
    assert turns_of_each(count, workers) == pytest.approx(turns)


@given(count=st.integers(1, 40), workers=st.integers(1, 12))
def test_with_pauses_all_workers_end_together(count: int, workers: int) -> None:
    """Each worker takes the next one of the queue: those that pause first, and what is left of them last."""
    turns = turns_of_each(count, workers)
    queue = deque((turn, 1 - turn) for turn in sorted(turns, key=lambda turn: turn == 1))
    running: list[tuple[float, float]] = []  # when each ends, and what is then left of it
    now = 0.0
    while queue or running:
        while queue and len(running) < workers:
            length, left = queue.popleft()
            heappush(running, (now + length, left))
        now, left = heappop(running)
        if left:
            queue.append((left, 0.0))
    assert now == pytest.approx(max(1.0, count / workers))


def test_a_cpu_takes_a_batch_at_a_time() -> None:
    plain = TrialConfig(**PLAIN)
    assert least_memory(plain, CLASSES, 60_000, CPU) == describe(plain, CLASSES).training_floor(mixed=True)


@pytest.mark.parametrize("error", [torch.OutOfMemoryError, torch.AcceleratorError])
def test_a_device_that_fails_while_its_speed_is_measured_is_one_clean_error(
    error: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any, **__: Any) -> float:
        raise error("CUDA error: out of memory\nSearch for `cudaErrorMemoryAllocation'")

    monkeypatch.setattr("search.job.estimate.measure_speed", fails)
    with pytest.raises(
        SearchError,
        match=r"^The device cuda must be able to train .*, but failed: CUDA error: out of memory\. See what",
    ):
        trainings_seconds([TrialConfig(**PLAIN)], Place(CUDA, 1, 1, None, None), DATA)
