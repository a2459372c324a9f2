"""What a network is taught: smoothed labels, or what its teachers say of the very same images."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import cross_entropy

from fmnist.config import TrialConfig
from fmnist.data import synthetic
from fmnist.data.images import Images
from fmnist.errors import FmnistError
from fmnist.graphs import CapturedSteps
from fmnist.network import Network, build
from fmnist.scoring import class_scores
from fmnist.targets import class_weights
from fmnist.train import Epoch, _Run, fit

CPU = torch.device("cpu")
SMALL: dict[str, Any] = {"depth": 2, "filters": 8, "batch_norm": True, "learning_rate": 5e-3, "batch_size": 32}
AUGMENTED: dict[str, Any] = {"augmentation": 0.7, "dropout": 0.2, "ema": 0.9}


@pytest.fixture(scope="module")
def images() -> Images:
    return synthetic.draw(256, seed=1)


@pytest.fixture(scope="module")
def teachers(images: Images) -> list[Network]:
    """Two trained networks, of which one scores an image and its mirror."""
    return [
        list(fit(config(epochs=3, mirror=seed == 1), images, None, seed=seed, device=CPU))[-1].model for seed in (0, 1)
    ]


def config(**changes: Any) -> TrialConfig:
    return TrialConfig(**{**SMALL, **changes})


def train(images: Images, teachers: list[Network], **changes: Any) -> list[Epoch]:
    return list(fit(config(**changes), images, None, seed=7, device=CPU, teachers=teachers))


def weights(epoch: Epoch) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in epoch.model.state_dict().items()}


def are_equal(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return all(torch.equal(tensor, second[name]) for name, tensor in first.items())


def is_plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """In float32, so that figures can be compared."""
    monkeypatch.setattr("fmnist.train.is_mixed", lambda _: False)


@pytest.mark.parametrize("side", [28, 14])
def test_the_targets_are_the_teachers_mean_on_the_very_same_images(
    side: int, images: Images, teachers: list[Network], monkeypatch: pytest.MonkeyPatch
) -> None:
    is_plain(monkeypatch)
    run = _Run(config(**AUGMENTED), images, 0, CPU, teachers=teachers)
    inputs, targets = run.batches.prepared(torch.arange(96).view(3, 32), side, 1)
    assert (inputs.shape, targets.shape) == ((3, 32, 1, side, side), (3, 32, 10))
    assert not targets.requires_grad
    with torch.inference_mode():
        expected = torch.stack([teacher.eval()(inputs.flatten(0, 1)).softmax(dim=1) for teacher in teachers]).mean(0)
    torch.testing.assert_close(targets.flatten(0, 1), expected, rtol=1e-3, atol=1e-5)
    plain = _Run(config(**AUGMENTED), images, 0, CPU)
    torch.testing.assert_close(plain.batches.prepared(torch.arange(96).view(3, 32), side, 1)[0], inputs)


def test_a_student_comes_closer_to_its_teachers(images: Images, teachers: list[Network]) -> None:
    pixels = torch.from_numpy(images.pixels)
    taught = torch.stack([class_scores(teacher, pixels).softmax(dim=1) for teacher in teachers]).mean(0)
    far = [cross_entropy(class_scores(epoch.model, pixels), taught).item() for epoch in _each(images, teachers)]
    assert far[0] > far[-1]
    least = -(taught * taught.log()).sum(dim=1).mean().item()  # where it says what they say
    assert far[-1] - least < 0.5 * (far[0] - least)


def _each(images: Images, teachers: list[Network]) -> Any:
    return fit(config(epochs=6), images, None, seed=7, device=CPU, teachers=teachers)


def test_labels_and_smoothing_have_no_effect_on_a_student_and_teachers_have(
    images: Images, teachers: list[Network]
) -> None:
    other = Images(images.pixels, np.roll(images.labels, 1), images.class_names)
    taught = weights(train(images, teachers, epochs=2)[-1])
    assert are_equal(taught, weights(train(other, teachers, epochs=2)[-1]))
    assert are_equal(taught, weights(train(images, teachers, epochs=2, label_smoothing=0.2)[-1]))
    assert not are_equal(taught, weights(train(images, teachers[:1], epochs=2)[-1]))
    assert not are_equal(taught, weights(train(images, [], epochs=2)[-1]))


def test_teachers_are_left_as_they_are(images: Images, teachers: list[Network]) -> None:
    teacher = teachers[0].train()
    teacher.zero_grad()
    before = {name: tensor.clone() for name, tensor in teacher.state_dict().items()}
    train(images, [teacher], epochs=1)
    assert are_equal(before, teacher.state_dict())
    assert teacher.training
    assert all(parameter.grad is None for parameter in teacher.parameters())


def test_a_resumed_student_is_the_same(images: Images, teachers: list[Network]) -> None:
    changes: dict[str, Any] = {**AUGMENTED, "epochs": 3, "small_epochs": 0.4, "small_side": 14}
    whole = train(images, teachers, **changes)
    first = next(fit(config(**changes), images, None, seed=7, device=CPU, teachers=teachers))
    rest = list(fit(config(**changes), images, None, seed=7, device=CPU, after=first.snapshot(), teachers=teachers))
    assert [epoch.train_loss for epoch in rest] == [epoch.train_loss for epoch in whole[1:]]
    assert are_equal(weights(rest[-1]), weights(whole[-1]))


def compare_captured_with_eager(images: Images, teachers: list[Network], **changes: Any) -> None:
    """Runs the code that CUDA captures, but calls it instead of replaying a graph."""
    made = config(**AUGMENTED, **changes)
    runs = []
    for _ in range(2):
        torch.manual_seed(0)
        runs.append(_Run(made, images, 0, CPU, teachers=teachers))
    eager, captured = runs
    eager.done = captured.done = 1  # as after an eager step, which starts the average of the weights
    rows = torch.arange(len(images)).view(-1, made.batch_size)
    inputs, targets = captured.batches.prepared(rows, 28, 1)
    steps = CapturedSteps(captured.step, torch.empty_like(inputs), torch.empty_like(targets), lambda work: work)
    torch.manual_seed(1)
    loss = steps(inputs, targets, captured.rates(len(rows)).float())
    torch.manual_seed(1)
    torch.testing.assert_close(loss, eager.block(rows, 28), rtol=1e-4, atol=1e-4)


def test_captured_steps_learn_from_teachers_like_eager_steps(images: Images, teachers: list[Network]) -> None:
    compare_captured_with_eager(images, teachers)


def test_captured_steps_learn_with_class_weights_like_eager_steps() -> None:
    compare_captured_with_eager(unbalanced(88, few=8, seed=1), [], class_weights=1.0, mixup=0.2, batch_size=11)


def test_a_teacher_of_other_classes_is_refused(images: Images) -> None:
    with pytest.raises(FmnistError, match=r"A teacher must know the 10 classes of the images, got one of 4\."):
        train(images, [build(config(), 4)], epochs=1)


@given(st.lists(st.integers(1, 1000), min_size=2, max_size=12), st.floats(0, 1))
@settings(max_examples=50, deadline=None)
def test_weights_have_the_mean_1_over_the_images_and_the_inverse_ratio_of_the_class_sizes(
    sizes: list[int], exponent: float
) -> None:
    labels = np.repeat(np.arange(len(sizes)), sizes)
    found = class_weights(labels, len(sizes), exponent).double()
    assert found[labels].mean().item() == pytest.approx(1, rel=1e-5)
    ratios = (torch.tensor(sizes, dtype=torch.float64) / sizes[0]) ** -exponent
    torch.testing.assert_close(found / found[0], ratios, rtol=1e-5, atol=0)


def unbalanced(count: int, *, few: int, seed: int) -> Images:
    """Drawn T-shirts and shirts, which look alike: so many images, `few` of them shirts."""
    drawn = synthetic.draw(10 * count, seed=seed)
    shirts = np.flatnonzero(drawn.labels == 6)[:few]
    both = drawn.take(np.concatenate((np.flatnonzero(drawn.labels == 0)[: count - few], shirts)))
    return Images(both.pixels, (both.labels == 6).astype(np.int64), ("T-shirt/top", "Shirt"))


def test_a_small_class_is_found_more_often_if_all_classes_count_alike() -> None:
    few_shirts, valid = unbalanced(88, few=8, seed=1), unbalanced(120, few=60, seed=2)

    def figures(**knobs: Any) -> tuple[float, float]:
        """Mean recall of the shirts and macro F1 over two seeds."""
        found = []
        for seed in (0, 1):
            small = config(filters=4, batch_size=16, epochs=6, **knobs)
            *_, last = fit(small, few_shirts, valid, seed=seed, device=CPU)
            assert last.logits is not None
            recall = last.logits.argmax(1).numpy()[valid.labels == 1].mean()
            found.append((float(recall), last.macro_f1))
        return float(np.mean([one[0] for one in found])), float(np.mean([one[1] for one in found]))

    (recall, f1), (weighted_recall, weighted_f1) = figures(), figures(class_weights=1.0)
    assert weighted_recall > recall + 0.1
    assert weighted_f1 > f1 + 0.03


def targets_of(images: Images, teachers: list[Network], **knobs: Any) -> Tensor:
    """Of all images, in their order. Shape: [88, 2]."""
    run = _Run(config(batch_size=11, **knobs), images, 0, CPU, teachers=teachers)
    return run.batches.prepared(torch.arange(88).view(8, 11), 28, 1)[1].flatten(0, 1)


def test_the_targets_of_an_image_are_multiplied_by_the_weight_of_its_class() -> None:
    images = unbalanced(88, few=8, seed=1)
    of_class = torch.tensor([88 / (2 * 80), 88 / (2 * 8)])
    smooth, weighted = (targets_of(images, [], label_smoothing=0.1, class_weights=exponent) for exponent in (0.0, 1.0))
    torch.testing.assert_close(weighted, smooth * of_class[torch.from_numpy(images.labels)].unsqueeze(1))
    mixed, weighted = (targets_of(images, [], mixup=0.4, class_weights=exponent) for exponent in (0.0, 1.0))
    torch.testing.assert_close(weighted, mixed * of_class)
    teacher = [build(config(), 2)]
    taught, blended = (targets_of(images, teacher, mixup=0.4, class_weights=exponent) for exponent in (0.0, 1.0))
    torch.testing.assert_close(blended, taught * weighted.sum(1, keepdim=True))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_on_a_gpu_a_student_learns_from_its_teachers_in_captured_steps(images: Images, teachers: list[Network]) -> None:
    changes: dict[str, Any] = {**AUGMENTED, "epochs": 6, "small_epochs": 0.4, "small_side": 14, "batch_size": 8}
    first, *_, last = fit(config(**changes), images, None, seed=7, device=torch.device("cuda"), teachers=teachers)
    assert last.train_loss < first.train_loss
