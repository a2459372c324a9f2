import gc
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from fmnist.config import TrialConfig
from fmnist.data import synthetic
from fmnist.data.images import Images
from fmnist.graphs import CapturedSteps
from fmnist.train import _Run

CPU = torch.device("cpu")
CONFIG: dict[str, Any] = {
    "depth": 2,
    "filters": 8,
    "batch_norm": True,
    "dropout": 0.3,
    "augmentation": 0.5,
    "ema": 0.9,
    "batch_size": 16,
}


@pytest.fixture(scope="module")
def images() -> Images:
    return synthetic.draw(96, seed=1)


def run_of(images: Images, **changes: Any) -> _Run:
    torch.manual_seed(0)
    run = _Run(TrialConfig(**{**CONFIG, **changes}), images, 0, CPU)
    run.done = 1  # as after an eager step, which starts the average of the weights
    return run


def rows_of(images: Images) -> Tensor:
    return torch.arange(len(images)).view(-1, CONFIG["batch_size"])


@pytest.mark.parametrize(
    "changes", [{}, {"schedule": "triangle"}, {"optimizer": "adamw", "l2": 0.1}, {"optimizer": "muon"}]
)
def test_captured_steps_train_like_eager_steps(changes: dict[str, Any], images: Images) -> None:
    """Runs the code that CUDA captures, but calls it instead of replaying a graph."""
    eager, captured, rows = run_of(images, **changes), run_of(images, **changes), rows_of(images)
    inputs, targets = captured.batches.prepared(rows, 28, 1)
    steps = CapturedSteps(
        captured.step, torch.empty((8, *inputs.shape[1:])), torch.empty((8, *targets.shape[1:])), lambda work: work
    )
    torch.manual_seed(1)
    loss = steps(inputs, targets, captured.rates(len(rows)).float())
    torch.manual_seed(1)
    torch.testing.assert_close(loss, eager.block(rows, 28), rtol=1e-5, atol=1e-5)
    tensors = dict(captured._tensors())
    for name, tensor in eager._tensors():
        torch.testing.assert_close(tensors[name], tensor, rtol=1e-2, atol=1e-4)  # captured rates are float32


def test_a_step_is_captured_only_after_eager_steps_at_the_same_size(
    images: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Uses the block sizes of CUDA, with a capture that calls its function."""
    captures: list[int] = []

    def capture(work: Callable[[], None], device: torch.device) -> Callable[[], None]:
        captures.append(run.done)
        return work

    monkeypatch.setattr("fmnist.train.capture", capture)
    run, rows = run_of(images), rows_of(images)
    run.done, run.eager, run.ahead = 0, 3, 3
    for block, side, expected in (
        (rows[:3], 14, []),
        (rows[3:], 28, []),
        (rows[:2], 28, [6]),
        (rows[2:4], 28, [6]),
        (rows[:2], 14, [6]),
    ):
        run.block(block, side)
        assert captures == expected
    run.block(rows[3:], 14)  # one eager step and two captured ones
    assert captures == [6, 13]
    assert run.done == 15


def test_each_block_starts_at_its_first_batch_with_a_sum_of_zero(images: Images) -> None:
    calls: list[float] = []

    def step(inputs: Tensor, targets: Tensor, rate: Tensor) -> Tensor:
        calls.append(rate.item())
        return inputs.sum() + targets.sum()

    steps = CapturedSteps(step, torch.empty(4, 2, 1, 1, 1), torch.empty(4, 2, 1), lambda work: work)
    ones = torch.ones(4, 2, 1, 1, 1), torch.ones(4, 2, 1)
    first = steps(*ones, torch.tensor([0.5, 0.25, 0.125, 0.0]))
    second = steps(2 * ones[0][:2], ones[1][:2], torch.tensor([0.75, 1.0]))
    assert calls == [0.5, 0.25, 0.125, 0.0, 0.75, 1.0]
    assert (first.item(), second.item()) == (16.0, 12.0)


def test_a_finished_training_is_freed_without_the_garbage_collector(images: Images) -> None:
    """A graph that the collector frees during another capture breaks it; seen on an H200 in a search of 100 trials."""
    gc.disable()
    try:
        run = run_of(images)
        inputs, targets = run.batches.prepared(rows_of(images), 28, 1)
        run.captured = CapturedSteps(
            run.step, torch.empty_like(inputs), torch.empty_like(targets), lambda _: lambda: None
        )
        reference = weakref.ref(run.captured)
        del run
        assert reference() is None
    finally:
        gc.enable()
