import gc
import math
import subprocess
import sys
import weakref
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from fmnist.config import TrialConfig
from fmnist.data.images import Images
from fmnist.data.sources import Source, find_source
from fmnist.data.splits import SearchSplits, search_splits
from fmnist.metrics import macro_f1
from fmnist.network import build
from fmnist.scoring import class_scores, figures
from fmnist.targets import smooth_targets
from fmnist.train import DivergedError, Epoch, _Run, fit, measure_speed

CPU = torch.device("cpu")
SMALL: dict[str, Any] = {
    "depth": 1,
    "filters": 8,
    "batch_norm": True,
    "learning_rate": 3e-3,
    "batch_size": 64,
    "epochs": 2,
}
EVERYTHING: dict[str, Any] = {
    "dropout": 0.2,
    "augmentation": 0.5,
    "label_smoothing": 0.1,
    "ema": 0.9,
    "l2": 1e-3,
    "schedule": "triangle",
    "hidden": 16,
}
FEW = 96  # images


@pytest.fixture(scope="module")
def splits() -> SearchSplits:
    source: Source = find_source("synthetic", announce=lambda _: None)
    train, valid = search_splits(source, seed=0)
    return SearchSplits(train.take(np.arange(1500)), valid.take(np.arange(500)))


@pytest.fixture(scope="module")
def few(splits: SearchSplits) -> Images:
    return splits.train.take(np.arange(FEW))


def small(**changes: Any) -> TrialConfig:
    return TrialConfig(**{**SMALL, **changes})


def train(images: Images, *, valid: Images | None = None, seed: int = 0, **changes: Any) -> list[Epoch]:
    return list(fit(small(**changes), images, valid, seed=seed, device=CPU))


def weights(model: nn.Module) -> dict[str, Tensor]:
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


def are_equal(a: nn.Module, b: nn.Module) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


def after_each_step(images: Images, **changes: Any) -> list[dict[str, Tensor]]:
    """The parameters after each step of a training with one batch per epoch."""
    return [
        weights(epoch.model)
        for epoch in fit(small(batch_size=len(images), **changes), images, None, seed=0, device=CPU)
    ]


def test_every_epoch_is_yielded_with_its_figures(splits: SearchSplits) -> None:
    epochs = train(splits.train, valid=splits.valid, epochs=3)
    assert [epoch.number for epoch in epochs] == [1, 2, 3]
    for epoch in epochs:
        assert epoch.seconds > 0
        assert epoch.images_per_second > 0
        assert epoch.macro_f1 is not None
        assert 0 <= epoch.macro_f1 <= 1
    assert epochs[0].train_loss > epochs[1].train_loss > epochs[2].train_loss


def test_two_epochs_learn_far_more_than_guessing(splits: SearchSplits) -> None:
    last = train(splits.train, valid=splits.valid)[-1]
    assert last.macro_f1 is not None
    assert last.valid_loss is not None
    assert last.macro_f1 > 0.4
    assert last.valid_loss < 0.8 * math.log(10)


def test_the_figures_belong_to_the_yielded_model(splits: SearchSplits) -> None:
    for epoch in fit(small(ema=0.9), splits.train, splits.valid, seed=0, device=CPU):
        labels = torch.from_numpy(splits.valid.labels)
        logits = class_scores(epoch.model, torch.from_numpy(splits.valid.pixels))
        predictions = logits.argmax(dim=1)
        assert epoch.macro_f1 == macro_f1(splits.valid.labels, predictions.numpy(), 10)
        assert epoch.accuracy == pytest.approx((predictions == labels).float().mean().item())
        assert epoch.valid_loss == pytest.approx(cross_entropy(logits, labels).item())


@pytest.mark.parametrize("changes", [{}, EVERYTHING])
def test_equal_seeds_train_equal_networks_and_other_seeds_do_not(
    changes: dict[str, Any], splits: SearchSplits, few: Images
) -> None:
    first, again, other = (
        train(few, valid=splits.valid, seed=seed, batch_size=32, **changes)[-1] for seed in (5, 5, 6)
    )
    assert first.macro_f1 == again.macro_f1
    assert first.train_loss == again.train_loss
    assert are_equal(first.model, again.model)
    assert not are_equal(first.model, other.model)


def test_numbers_drawn_between_epochs_do_not_change_the_training(few: Images) -> None:
    quiet: list[float] = []
    disturbed: list[float] = []
    for losses, draws in ((quiet, 0), (disturbed, 100)):
        for epoch in fit(small(batch_size=32, augmentation=0.5), few, None, seed=0, device=CPU):
            losses.append(epoch.train_loss)
            torch.rand(draws)
    assert quiet == disturbed


def test_validation_does_not_change_the_training(splits: SearchSplits, few: Images) -> None:
    with_validation, without = train(few, valid=splits.valid, **EVERYTHING), train(few, **EVERYTHING)
    assert [epoch.train_loss for epoch in with_validation] == [epoch.train_loss for epoch in without]
    assert are_equal(with_validation[-1].model, without[-1].model)


def test_without_a_validation_split_there_are_no_validation_figures(few: Images) -> None:
    for epoch in train(few):
        assert (epoch.valid_loss, epoch.macro_f1, epoch.accuracy) == (None, None, None)
        assert epoch.train_loss > 0


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_divergence_raises(seed: int, few: Images) -> None:
    epochs = fit(
        small(depth=3, blocks=3, batch_norm=False, learning_rate=1.0, batch_size=8), few, None, seed=seed, device=CPU
    )
    with pytest.raises(DivergedError, match=r"diverged: mean training loss \S+ in epoch 1, over 6\.91"):
        next(epochs)


def test_closing_the_generator_frees_the_network(few: Images) -> None:
    epochs = fit(small(epochs=1000), few, None, seed=0, device=CPU)
    model = weakref.ref(next(epochs).model)
    assert model() is not None
    epochs.close()  # type: ignore[attr-defined]
    gc.collect()
    assert model() is None
    assert list(epochs) == []


def test_fewer_images_than_the_batch_size_form_one_batch(few: Images) -> None:
    assert [epoch.number for epoch in train(few.take(np.arange(5)), batch_size=64)] == [1, 2]


def test_with_ema_the_averaged_weights_are_yielded(few: Images) -> None:
    raw = after_each_step(few, epochs=4)
    averaged = after_each_step(few, epochs=4, ema=0.75)
    expected = raw[0]
    for step in range(4):
        expected = {name: 0.75 * expected[name] + 0.25 * new for name, new in raw[step].items()} if step else raw[0]
        for name, value in expected.items():
            torch.testing.assert_close(averaged[step][name], value, atol=1e-6, rtol=1e-4)
    assert any(not torch.allclose(averaged[3][name], raw[3][name]) for name in raw[3])


def test_without_l2_adam_and_adamw_are_equal(few: Images) -> None:
    adam, adamw = (after_each_step(few, optimizer=name, epochs=3)[-1] for name in ("adam", "adamw"))
    for name, value in adam.items():
        torch.testing.assert_close(adamw[name], value)


def test_l2_shrinks_weights_directly_in_adamw_only(few: Images) -> None:
    torch.manual_seed(0)
    start = weights(build(small(), 10))
    plain, coupled, decoupled = (
        after_each_step(few, optimizer=name, l2=l2, epochs=1)[0]
        for name, l2 in (("adam", 0.0), ("adam", 0.5), ("adamw", 0.5))
    )
    for name, value in start.items():
        if value.ndim > 1:
            torch.testing.assert_close(decoupled[name], plain[name] - 3e-3 * 0.5 * value, atol=1e-6, rtol=1e-4)
            assert not torch.allclose(coupled[name], plain[name])
            assert not torch.allclose(coupled[name], decoupled[name])


@pytest.mark.parametrize("optimizer", ["adam", "adamw"])
def test_l2_skips_biases_and_norms(optimizer: str, few: Images) -> None:
    without, with_l2 = (after_each_step(few, optimizer=optimizer, l2=l2, epochs=1)[0] for l2 in (0.0, 1.0))
    flat = [name for name, value in without.items() if value.ndim == 1]
    assert len(flat) == 3  # two of the norm, and the classifier's bias
    for name in flat:
        torch.testing.assert_close(with_l2[name], without[name])


@pytest.mark.parametrize(
    "changes", [{"beta2": 0.5}, {"learning_rate": 4e-3}, {"schedule": "cosine"}, {"label_smoothing": 0.2}]
)
def test_each_optimisation_knob_changes_the_weights(changes: dict[str, Any], few: Images) -> None:
    plain, changed = after_each_step(few, epochs=3)[-1], after_each_step(few, **{"epochs": 3, **changes})[-1]
    assert any(not torch.allclose(plain[name], changed[name]) for name in plain)


@given(st.integers(2, 12), st.floats(0, 0.99), st.integers(0, 100))
@settings(max_examples=50, deadline=None)
def test_smoothed_targets_match_pytorchs_label_smoothing(classes: int, smoothing: float, seed: int) -> None:
    targets = smooth_targets(classes, smoothing)
    random = torch.Generator().manual_seed(seed)
    logits, labels = torch.randn((6, classes), generator=random), torch.randint(classes, (6,), generator=random)
    torch.testing.assert_close(targets.sum(dim=1), torch.ones(classes))
    torch.testing.assert_close(
        cross_entropy(logits, targets[labels]), cross_entropy(logits, labels, label_smoothing=smoothing)
    )


def test_speed_is_measured_for_any_batch_size_and_number_of_classes() -> None:
    assert measure_speed(small(batch_size=8, ema=0.9, augmentation=1.0), 3, device=CPU, seconds=0.05) > 0


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_on_a_gpu_two_epochs_learn_far_more_than_guessing(splits: SearchSplits) -> None:
    last = list(fit(small(depth=2, filters=16), *splits, seed=0, device=torch.device("cuda")))[-1]
    assert last.macro_f1 is not None
    assert last.macro_f1 > 0.4


def test_only_the_first_epochs_train_on_smaller_images(few: Images) -> None:
    def epochs(**changes: Any) -> list[Epoch]:
        return train(few, valid=few, epochs=4, head="max", **changes)

    plain, none, half = epochs(), epochs(small_side=14), epochs(small_side=14, small_epochs=0.5)
    assert [epoch.train_loss for epoch in plain] == [epoch.train_loss for epoch in none]
    assert plain[0].train_loss != half[0].train_loss
    scores = class_scores(half[-1].model, torch.from_numpy(few.pixels))
    assert half[-1].accuracy == pytest.approx((scores.argmax(dim=1).numpy() == few.labels).mean())


def test_an_epoch_on_smaller_images_is_scored_on_smaller_images(few: Images) -> None:
    first = next(fit(small(epochs=2, small_side=14, small_epochs=0.5, head="max"), few, few, seed=0, device=CPU))
    pixels = torch.from_numpy(few.pixels)
    accuracy = {
        side: (class_scores(first.model, pixels, side).argmax(dim=1).numpy() == few.labels).mean() for side in (14, 28)
    }
    assert first.accuracy == pytest.approx(accuracy[14])


def test_gradients_agree_in_both_precisions(few: Images) -> None:
    def step(mixed: bool) -> dict[str, Tensor]:
        torch.manual_seed(0)
        run = _Run(small(), few, 0, CPU, mixed)
        run.block(torch.arange(64).view(1, 64), 28)
        return {name: parameter.grad for name, parameter in run.model.named_parameters() if parameter.grad is not None}

    exact, rounded = step(False), step(True)
    for name, gradient in exact.items():
        assert rounded[name].dtype == torch.float32
        assert (rounded[name] - gradient).norm() < 0.1 * gradient.norm() + 1e-4, name


def test_the_caller_of_fit_may_choose_the_precision(few: Images, monkeypatch: pytest.MonkeyPatch) -> None:
    def losses(mixed: bool | None) -> list[float]:
        return [epoch.train_loss for epoch in fit(small(), few, None, seed=0, device=CPU, mixed=mixed)]

    for default in (False, True):
        monkeypatch.setattr("fmnist.train.is_mixed", lambda _, default=default: default)
        assert losses(None) == losses(default) != losses(not default)


@pytest.mark.slow
def test_both_precisions_score_alike_over_twenty_seeds(splits: SearchSplits) -> None:
    few, valid = splits.train.take(np.arange(600)), splits.valid.take(np.arange(500))

    def score(seed: int, mixed: bool) -> float:
        *_, last = fit(small(epochs=3), few, None, seed=seed, device=CPU, mixed=mixed)
        return figures(class_scores(last.model, torch.from_numpy(valid.pixels)), valid)[1]

    def scores(mixed: bool) -> list[float]:
        return [score(seed, mixed) for seed in range(20)]

    exact, rounded = scores(False), scores(True)
    error = math.hypot(np.std(exact, ddof=1), np.std(rounded, ddof=1)) / math.sqrt(20)
    assert abs(np.mean(exact) - np.mean(rounded)) < 3 * error


@pytest.mark.process
def test_training_on_the_cpu_does_not_initialize_cuda() -> None:
    program = (
        "import numpy, torch\n"
        "from fmnist.config import TrialConfig\n"
        "from fmnist.data.images import Images\n"
        "from fmnist.train import fit\n"
        "images = Images(numpy.zeros((20, 28, 28), numpy.uint8), numpy.arange(20) % 10, tuple('0123456789'))\n"
        "list(fit(TrialConfig(epochs=1, depth=1, filters=4, ema=0.9), images, images, seed=0, "
        "device=torch.device('cpu')))\n"
        "print(torch.cuda.is_initialized())\n"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=True)
    assert result.stdout.strip() == "False"


@pytest.mark.gpu
@pytest.mark.slow
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_on_a_gpu_captured_and_eager_trainings_score_alike_over_twenty_seeds(
    splits: SearchSplits, monkeypatch: pytest.MonkeyPatch
) -> None:
    def scores(eager: bool) -> list[float]:
        monkeypatch.setattr("fmnist.train.EAGER_STEPS", 10**9 if eager else 3)
        train_images, valid = splits.train.take(np.arange(600)), splits.valid.take(np.arange(500))
        config, device = small(batch_size=64, epochs=3), torch.device("cuda")
        return [
            list(fit(config, train_images, valid, seed=seed, device=device))[-1].macro_f1 or 0.0 for seed in range(20)
        ]

    eager, captured = scores(True), scores(False)
    error = math.hypot(np.std(eager, ddof=1), np.std(captured, ddof=1)) / math.sqrt(20)
    assert abs(np.mean(eager) - np.mean(captured)) < 3 * error
