"""How many trainings share a device, and what that costs each: plain arithmetic on what the device says."""

import pytest
import torch

from search.executors.capacity import CUDA_ITSELF, GAIN, memory_of_each, slowdown

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.fixture(params=[True, False])
def has_mps(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    monkeypatch.setattr("search.executors.capacity.can_share", lambda: request.param)
    return bool(request.param)


def test_trainings_slow_each_other_down_only_on_a_gpu(has_mps: bool) -> None:
    assert [slowdown(CPU, workers) for workers in (1, 2, 8)] == [1.0, 1.0, 1.0]
    assert slowdown(CUDA, 1) == 1.0
    assert slowdown(CUDA, 8) == (8 / GAIN if has_mps else 8.0)


def test_a_gpus_memory_is_divided_and_a_machines_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("search.executors.capacity.free_memory", lambda _: 80 * 2**30)
    assert memory_of_each(CUDA, 8) == 10 * 2**30 - CUDA_ITSELF
    assert memory_of_each(CPU, 8) == 80 * 2**30
    assert memory_of_each(CUDA, 1000) == 0
