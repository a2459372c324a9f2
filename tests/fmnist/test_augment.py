from itertools import product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Generator, Tensor

from fmnist.augment import augment, resized

SIDE = 28


def generator(seed: int = 0) -> Generator:
    return Generator().manual_seed(seed)


def framed_noise(count: int) -> Tensor:
    """Random pixels within a black frame, so that small shifts lose no pixels."""
    images = torch.zeros((count, 1, SIDE, SIDE))
    images[:, :, 4:-4, 4:-4] = torch.rand((count, 1, SIDE - 8, SIDE - 8), generator=generator(7))
    return images


def bright_on_the_left(count: int) -> Tensor:
    images = torch.zeros((count, 1, SIDE, SIDE))
    images[..., : SIDE // 2] = 1
    return images


def moved(images: Tensor, down: int, right: int, mirror: bool) -> Tensor:
    return torch.roll(images.flip(3) if mirror else images, (down, right), dims=(2, 3))


def mirrored_share(strength: float, *, flip: bool) -> float:
    changed = augment(bright_on_the_left(2000), strength, flip=flip, generator=generator())
    left, right = changed.tensor_split(2, dim=3)
    return (right.sum((1, 2, 3)) > left.sum((1, 2, 3))).float().mean().item()


def change(strength: float) -> float:
    images = framed_noise(500)
    return (augment(images, strength, flip=True, generator=generator()) - images).abs().mean().item()


@given(st.floats(0, 1), st.booleans(), st.integers(0, 1000), st.integers(1, 5))
@settings(max_examples=80, deadline=None)
def test_any_strength_keeps_shape_type_and_range_and_is_reproducible(
    strength: float, flip: bool, seed: int, count: int
) -> None:
    images = torch.rand((count, 1, SIDE, SIDE), generator=generator(seed))
    before = images.clone()
    changed = augment(images, strength, flip=flip, generator=generator(seed))
    assert changed.shape == images.shape
    assert changed.dtype == images.dtype
    assert changed.min() >= 0
    assert changed.max() <= 1 + 1e-6
    assert torch.equal(images, before)
    assert torch.equal(changed, augment(images, strength, flip=flip, generator=generator(seed)))


def test_strength_0_changes_nothing() -> None:
    images = framed_noise(5)
    assert torch.equal(augment(images, 0.0, flip=True, generator=generator()), images)


def test_another_seed_gives_other_changes() -> None:
    images = framed_noise(5)
    first, second = (augment(images, 0.5, flip=True, generator=generator(seed)) for seed in (0, 1))
    assert not torch.equal(first, second)


def test_a_second_call_with_the_same_generator_gives_other_changes() -> None:
    images, shared = framed_noise(5), generator()
    first, second = (augment(images, 0.5, flip=True, generator=shared) for _ in range(2))
    assert not torch.equal(first, second)


def test_each_image_gets_its_own_changes() -> None:
    same = framed_noise(1).expand(20, -1, -1, -1)
    changed = augment(same, 1.0, flip=True, generator=generator())
    assert len({image.numpy().tobytes() for image in changed}) == 20


@pytest.mark.parametrize(("strength", "reach"), [(0.1, 0), (0.25, 1), (0.5, 2)])
def test_images_that_are_only_shifted_or_mirrored_keep_their_pixels(strength: float, reach: int) -> None:
    images = framed_noise(500)
    changed = augment(images, strength, flip=True, generator=generator())
    moves = list(product((-3, -2, -1, 0, 1, 2, 3), (-3, -2, -1, 0, 1, 2, 3), (False, True)))
    exact = torch.stack([(changed - moved(images, *move)).abs().amax((1, 2, 3)) < 1e-5 for move in moves])  # [moves, N]
    untouched = (1 - strength) * (1 - strength / 2)  # neither rotated nor erased
    assert exact.any(dim=0).float().mean().item() == pytest.approx(untouched, abs=0.08)
    seen = [move for move, matches in zip(moves, exact, strict=True) if matches.any()]
    down, right, mirror = (set(column) for column in zip(*seen, strict=True))
    assert down == right == set(range(-reach, reach + 1))
    assert mirror == {False, True}


@pytest.mark.parametrize(("strength", "share"), [(0.02, 0.1), (0.1, 0.5), (0.25, 0.5), (0.5, 0.5)])
def test_the_share_of_mirrored_images(strength: float, share: float) -> None:
    assert mirrored_share(strength, flip=True) == pytest.approx(share, abs=0.04)


@pytest.mark.parametrize("strength", [0.02, 0.25, 0.5])
def test_without_flip_no_image_is_mirrored(strength: float) -> None:
    assert mirrored_share(strength, flip=False) == 0


@pytest.mark.parametrize("strength", [0.1, 0.5, 1.0])
def test_rectangles_of_one_grey_and_the_share_of_images_with_one(strength: float) -> None:
    black = torch.zeros((1000, 1, SIDE, SIDE))  # black images stay black when they are moved
    painted = augment(black, strength, flip=True, generator=generator()).squeeze(1)
    erased = painted[painted.amax((1, 2)) > 0]
    assert len(erased) / 1000 == pytest.approx(strength / 2, abs=0.05)
    for image in erased:
        rows, columns = image.any(dim=1), image.any(dim=0)
        assert len(image.unique()) == 2
        assert (image > 0).sum() == rows.sum() * columns.sum()
        assert max(rows.sum(), columns.sum()) <= 14


def test_more_strength_changes_more() -> None:
    changes = [change(strength) for strength in (0.0, 0.1, 0.5, 1.0)]
    assert changes == sorted(set(changes))
    assert changes[0] == 0


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_images_on_a_gpu_are_augmented_there() -> None:
    images = framed_noise(8).cuda()
    changed = augment(images, 0.5, flip=True, generator=Generator("cuda").manual_seed(0))
    assert changed.device == images.device
    assert not torch.equal(changed, images)


@pytest.mark.parametrize("side", [14, 20])
def test_images_are_resized_with_or_without_augmentation(side: int) -> None:
    images = framed_noise(300)
    plain, changed = (augment(images, strength, flip=True, generator=generator(), side=side) for strength in (0.0, 0.5))
    assert plain.shape == changed.shape == (300, 1, side, side)
    assert torch.equal(plain, resized(images, side))
    assert plain.mean().item() == pytest.approx(images.mean().item(), rel=0.02)
    assert changed.max() <= 1 + 1e-6


def test_the_painted_rectangle_shrinks_with_the_image() -> None:
    black = torch.zeros((4000, 1, SIDE, SIDE))
    painted = [
        (augment(black, 1.0, flip=False, generator=generator(), side=side) > 0).float().mean().item()
        for side in (28, 14)
    ]
    assert painted[1] == pytest.approx(painted[0], rel=0.15)
