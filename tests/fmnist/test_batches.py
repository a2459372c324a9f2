from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from fmnist.batches import Batches
from fmnist.config import TrialConfig
from fmnist.data.images import Images
from fmnist.network import build
from fmnist.targets import Targets

CPU = torch.device("cpu")
COUNT = 40


@pytest.fixture(scope="module")
def images() -> Images:
    """Each image has one bright pixel on its left, in a row of its own as far as there are rows."""
    pixels = np.zeros((COUNT, 28, 28), np.uint8)
    pixels[np.arange(COUNT), np.arange(COUNT) % 28, 3] = 255
    return Images(pixels, np.arange(COUNT) % 4, ("a", "b", "c", "d"))


def batches(images: Images, seed: int = 0, **knobs: Any) -> Batches:
    config = TrialConfig(batch_size=8, **knobs)
    return Batches(config, images, Targets(config, images, CPU, (), mixed=False), seed, CPU)


def mirrored_in(epoch: int, made: Batches) -> Tensor:
    prepared, _ = made.prepared(torch.arange(COUNT).view(5, 8), 28, epoch)
    return prepared.flatten(0, 1)[:, 0, :, 14:].amax(dim=(1, 2)) > 0


def test_an_epoch_has_each_image_once_and_drops_a_partial_batch(images: Images) -> None:
    made = batches(images.take(np.arange(37)))
    rows = torch.cat(list(made.epoch(ahead=3)))
    assert made.count == 4
    assert rows.shape == (4, 8)
    assert len(rows.unique()) == 32
    assert not torch.equal(rows, torch.cat(list(made.epoch(ahead=3))))


def test_an_epoch_of_several_passes_has_each_image_once_in_each_in_another_order(images: Images) -> None:
    made = batches(images, passes=3)
    blocks = list(made.epoch(ahead=4))
    assert made.count == sum(map(len, blocks)) == 15
    passes = torch.cat(blocks).view(3, COUNT)
    assert all(torch.equal(rows.sort().values, torch.arange(COUNT)) for rows in passes)
    assert len(passes.unique(dim=0)) == 3


def test_alternate_flips_show_each_image_both_ways_in_any_two_epochs(images: Images) -> None:
    made = batches(images, flip="alternate")
    shown = [mirrored_in(epoch, made) for epoch in (1, 2, 3)]
    assert 8 < shown[0].sum() < 32
    assert torch.equal(shown[1], ~shown[0])
    assert torch.equal(shown[2], shown[0])


def test_alternate_flips_are_the_same_in_a_resumed_training_and_others_with_another_seed(images: Images) -> None:
    first, again, other = (mirrored_in(5, batches(images, seed, flip="alternate")) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_random_flips_differ_between_epochs(images: Images) -> None:
    made = batches(images, flip=True)
    first, second = mirrored_in(1, made), mirrored_in(2, made)
    assert not torch.equal(first, second)
    assert all(8 < mirrored.sum() < 32 for mirrored in (first, second))


def test_mixup_blends_images_and_targets_by_the_same_shares(images: Images) -> None:
    rows = torch.arange(COUNT).view(5, 8)
    (plain, labels), (mixed, soft) = (batches(images, mixup=share).prepared(rows, 28, 1) for share in (0.0, 0.3))
    shares = plain.roll(1, 1).mul(mixed).amax((2, 3, 4))  # each image has one bright pixel, in a row of its own
    assert 0.2 < shares.max() <= 0.3
    torch.testing.assert_close(soft, labels.lerp(labels.roll(1, 1), shares.unsqueeze(2)))


def test_teachers_see_the_blended_images(images: Images) -> None:
    config = TrialConfig(batch_size=8, mixup=0.3)
    teacher = build(TrialConfig(filters=4), 4)
    made = Batches(config, images, Targets(config, images, CPU, [teacher], mixed=False), 0, CPU)
    mixed, targets = made.prepared(torch.arange(COUNT).view(5, 8), 28, 1)
    with torch.inference_mode():
        expected = teacher.eval()(mixed.flatten(0, 1)).softmax(dim=1)
    torch.testing.assert_close(targets.flatten(0, 1), expected, rtol=1e-4, atol=1e-5)
