"""Tests that need a CUDA device. `python benchmarks/gpu.py --steps tests` runs them on one."""

import gc
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from fmnist.checkpoint import load_checkpoint, save_checkpoint
from fmnist.config import TrialConfig
from fmnist.cuda import cuda_memory, release_memory
from fmnist.data import synthetic
from fmnist.data.images import Images
from fmnist.network.network import stretched
from fmnist.predict import predict
from fmnist.scoring import class_scores
from fmnist.snapshot import load_snapshot, save_snapshot
from fmnist.train import Epoch, _Run, fit, measure_speed

CUDA = torch.device("cuda")
SMALL: dict[str, Any] = {
    "depth": 2,
    "filters": 16,
    "batch_norm": True,
    "learning_rate": 3e-3,
    "batch_size": 64,
    "epochs": 4,
}
EVERYTHING: dict[str, Any] = {
    **{
        "dropout": 0.2,
        "augmentation": 0.5,
        "label_smoothing": 0.1,
        "ema": 0.9,
        "l2": 1e-3,
        "schedule": "triangle",
        "hidden": 16,
    },
    **{"blocks": 2, "residual": True, "pool": "before", "optimizer": "adamw", "mirror": True},
}
CHANGES: list[dict[str, Any]] = [
    {},
    EVERYTHING,
    {"head": "avg", "activation": "silu"},
    {"small_side": 14, "small_epochs": 0.5},  # stretches a flattened map
    {"small_side": 20, "small_epochs": 0.5, "head": "max", "ema": 0.9, "dropout": 0.3},
]
pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")]


@pytest.fixture(scope="module")
def images() -> Images:
    return synthetic.draw(1500, seed=1)


@pytest.fixture
def little_memory() -> Iterator[None]:
    """Limit this process to 64 MiB more than it has."""
    release_memory(CUDA)
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + 2**26) / cuda_memory(CUDA)[1])
    yield
    torch.cuda.set_per_process_memory_fraction(1.0)
    release_memory(CUDA)


def config_of(changes: dict[str, Any]) -> TrialConfig:
    return TrialConfig(**{**SMALL, **changes})


def trained(images: Images, changes: dict[str, Any]) -> Epoch:
    *_, last = fit(config_of(changes), images, images, seed=0, device=CUDA)
    return last


def facts(epoch: Epoch) -> dict[str, Any]:
    """The figures and the state of the training after the epoch."""
    assert epoch.logits is not None
    figures = {
        "number": epoch.number,
        "train_loss": epoch.train_loss,
        "valid_loss": epoch.valid_loss,
        "macro_f1": epoch.macro_f1,
    }
    return figures | {"tensors": {"logits": epoch.logits, **epoch.snapshot().tensors}}


def assert_same_epochs(actual: list[dict[str, Any]], expected: list[dict[str, Any]]) -> None:
    for actual_epoch, expected_epoch in zip(actual, expected, strict=True):
        assert_same(actual_epoch.pop("tensors"), expected_epoch.pop("tensors"))
        assert actual_epoch == expected_epoch


def run_of(images: Images, changes: dict[str, Any], *, eager: bool) -> _Run:
    torch.manual_seed(0)
    run = _Run(config_of(changes), images, 0, CUDA)
    if eager:
        run.eager = 10**9
    return run


def gradients(run: _Run) -> dict[str, Tensor]:
    return {
        name: parameter.grad.clone() for name, parameter in run.model.named_parameters() if parameter.grad is not None
    }


def assert_same(actual: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert actual.keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.equal(actual[name], tensor), (
            f"{name}: largest difference {(actual[name] - tensor).abs().max().item():.3g}"
        )


@pytest.mark.parametrize("changes", CHANGES)
def test_captured_and_eager_steps_give_the_same_losses_gradients_and_weights(
    changes: dict[str, Any], images: Images
) -> None:
    eager, captured = run_of(images, changes, eager=True), run_of(images, changes, eager=False)
    side = captured.config.small_side if captured.config.small_count else 28
    losses = {}
    for name, run in (("eager", eager), ("captured", captured)):
        torch.manual_seed(0)
        losses[name] = [run.epoch(side), run.epoch(28)]  # another size captures another graph
    assert captured.captured
    assert not eager.captured
    assert losses["captured"] == pytest.approx(losses["eager"], rel=1e-6)  # summed in another order
    assert_same(gradients(captured), gradients(eager))
    assert_same(dict(captured._tensors()), dict(eager._tensors()))


@pytest.mark.parametrize("changes", CHANGES)
def test_the_same_seed_trains_the_same_network_bit_by_bit(changes: dict[str, Any], images: Images) -> None:
    first, again = trained(images, changes), trained(images, changes)
    assert (first.train_loss, first.macro_f1) == (again.train_loss, again.macro_f1)
    assert_same(first.model.state_dict(), again.model.state_dict())


@pytest.mark.parametrize("changes", CHANGES)
def test_a_resumed_training_equals_an_uninterrupted_one(
    changes: dict[str, Any], images: Images, tmp_path: Path
) -> None:
    arguments: dict[str, Any] = {"seed": 0, "device": CUDA}
    uninterrupted = [facts(epoch) for epoch in fit(config_of(changes), images, images, **arguments)]
    path = tmp_path / "snapshot.safetensors"
    for epoch in fit(config_of(changes), images, images, **arguments):
        if epoch.number == 2:
            save_snapshot(path, epoch.snapshot(), {})
            break
    torch.rand(17, device=CUDA)  # other work of the process in between
    snapshot, _ = load_snapshot(path)
    resumed = [facts(epoch) for epoch in fit(config_of(changes), images, images, **arguments, after=snapshot)]
    assert_same_epochs(resumed, uninterrupted[2:])


def test_replays_of_a_captured_step_draw_different_dropout_masks(images: Images) -> None:
    run = run_of(images, {"dropout": 0.5, "hidden": 32, "learning_rate": 1e-12, "batch_norm": False}, eager=False)
    run.model.train()
    rows = torch.arange(64, device=CUDA).repeat(4, 1)  # the same batch in each step; the weights hardly change
    with run.own_stream():
        run.block(rows, 28)
        losses = {run.block(rows[:1], 28).item() for _ in range(8)}
    assert len(losses) == 8


def test_scores_match_those_of_the_cpu(images: Images) -> None:
    last = trained(images, EVERYTHING)
    assert last.logits is not None
    pixels = torch.from_numpy(images.pixels)
    on_cpu = class_scores(last.model.cpu(), pixels)
    torch.testing.assert_close(last.logits, on_cpu, atol=3e-2, rtol=3e-2)  # convolutions use TF32 on CUDA
    assert (last.logits.argmax(1) == on_cpu.argmax(1)).float().mean() > 0.99


def test_out_of_memory_is_raised_and_the_next_training_works(images: Images, little_memory: None) -> None:
    with pytest.raises(torch.OutOfMemoryError):
        trained(images, {"filters": 512, "batch_size": 1024})
    gc.collect()  # the error refers to tensors
    release_memory(CUDA)
    assert trained(images, {}).macro_f1 is not None


def test_out_of_memory_within_a_capture_is_raised(images: Images) -> None:
    run = run_of(images, {"filters": 64}, eager=False)
    release_memory(CUDA)

    def greedy(inputs: Tensor, targets: Tensor, rate: Tensor) -> Tensor:
        return torch.empty(2**44, device=CUDA).sum()

    run.eager, run.step = 0, greedy  # type: ignore[method-assign,assignment]
    with pytest.raises(torch.OutOfMemoryError), run.own_stream():
        run.block(torch.arange(64, device=CUDA).view(1, 64), 28)
    release_memory(CUDA)
    assert trained(images, {}).macro_f1 is not None


def test_garbage_with_a_graph_does_not_break_a_capture(images: Images) -> None:
    for _ in range(3):
        cycle: list[Any] = [run_of(images, {}, eager=False)]
        cycle[0].epoch(28)
        cycle.append(cycle)
    del cycle
    run = run_of(images, EVERYTHING, eager=False)
    step, enabled = run.step, list[bool]()

    def watched_step(inputs: Tensor, targets: Tensor, rate: Tensor) -> Tensor:
        enabled.append(gc.isenabled())
        return step(inputs, targets, rate)

    run.step = watched_step  # type: ignore[method-assign,assignment]
    run.epoch(28)
    assert enabled == [True] * (len(enabled) - 1) + [False]  # the last call is the capture
    assert gc.isenabled()


def test_predictions_match_those_of_the_cpu_up_to_rounding(images: Images, tmp_path: Path) -> None:
    save_checkpoint(
        tmp_path / "model", trained(images, EVERYTHING).model, config_of(EVERYTHING), images.class_names, origin={}
    )
    checkpoint = load_checkpoint(tmp_path / "model")
    on_cpu = predict(checkpoint, images.pixels, torch.device("cpu"))
    np.testing.assert_allclose(predict(checkpoint, images.pixels, CUDA), on_cpu, atol=1e-4)


def test_a_finished_training_releases_its_memory(images: Images) -> None:
    trained(images, {})
    release_memory(CUDA)
    before = torch.cuda.memory_reserved()
    for filters in (16, 24, 32):
        trained(images, {"filters": filters, "epochs": 1})
        release_memory(CUDA)
    assert torch.cuda.memory_reserved() <= before + 2**25


def test_within_an_epoch_the_host_does_not_wait_for_the_device(images: Images) -> None:
    run = run_of(images, EVERYTHING, eager=False)
    run.model.train()
    rows = torch.arange(512, device=CUDA).view(8, 64)
    with run.own_stream(), warnings.catch_warnings(action="ignore"):  # the mode is a prototype
        run.block(rows, 28)
        try:
            torch.cuda.set_sync_debug_mode("error")
            run.block(rows, 28)
        finally:
            torch.cuda.set_sync_debug_mode("default")


def test_stretching_matches_interpolation() -> None:
    x = torch.randn(4, 8, 4, 4, device=CUDA)
    expected = torch.nn.functional.interpolate(x, (7, 7), mode="bilinear")
    torch.testing.assert_close(stretched(x, 7), expected, atol=5e-3, rtol=5e-3)


def test_captured_steps_are_at_least_as_fast_as_eager_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    config = config_of({"batch_size": 128})
    captured = measure_speed(config, 10, device=CUDA, seconds=0.3)
    monkeypatch.setattr("fmnist.train.EAGER_STEPS", 10**9)
    assert captured >= measure_speed(config, 10, device=CUDA, seconds=0.3)  # six times as much on an H200
