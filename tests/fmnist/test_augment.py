import math
from itertools import product
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Generator, Tensor

from fmnist.augment import augment, mixed_up, mixup_weights, resized
from fmnist.config import TrialConfig

SIDE = 28
ALL: dict[str, Any] = {"augmentation": 0.5, "flip": True, "shift": 1.5, "erase": 0.3}


def generator(seed: int = 0) -> Generator:
    return Generator().manual_seed(seed)


def changed(images: Tensor, *, seed: int = 0, side: int | None = None, **knobs: Any) -> Tensor:
    return augment(images, TrialConfig(**knobs), generator=generator(seed), side=side)


def framed_noise(count: int) -> Tensor:
    """Random pixels within a black frame, so that small shifts lose no pixels."""
    images = torch.zeros((count, 1, SIDE, SIDE))
    images[:, :, 4:-4, 4:-4] = torch.rand((count, 1, SIDE - 8, SIDE - 8), generator=generator(7))
    return images


def moved(images: Tensor, down: int, right: int, mirror: bool) -> Tensor:
    return torch.roll(images.flip(3) if mirror else images, (down, right), dims=(2, 3))


def moves_of(images: Tensor, results: Tensor) -> list[tuple[int, int, bool] | None]:
    """The whole-pixel move of each image, or None if it was changed in another way."""
    moves = list(product(range(-3, 4), range(-3, 4), (False, True)))
    exact = torch.stack([(results - moved(images, *move)).abs().amax((1, 2, 3)) < 1e-5 for move in moves])  # [moves, N]
    return [moves[int(column.int().argmax())] if column.any() else None for column in exact.T]


@given(
    st.fixed_dictionaries(
        {
            "augmentation": st.floats(0, 1),
            "flip": st.booleans(),
            "shift": st.floats(0, 8),
            "erase": st.floats(0, 1),
        }
    ),
    st.integers(0, 1000),
    st.integers(1, 5),
    st.sampled_from((14, 20, 28)),
)
@settings(max_examples=80, deadline=None)
def test_any_strengths_keep_type_and_range_and_are_reproducible(
    knobs: dict[str, Any], seed: int, count: int, side: int
) -> None:
    images = torch.rand((count, 1, SIDE, SIDE), generator=generator(seed))
    before = images.clone()
    result = changed(images, seed=seed, side=side, **knobs)
    assert result.shape == (count, 1, side, side)
    assert result.dtype == images.dtype
    assert result.min() >= 0
    assert result.max() <= 1 + 1e-6
    assert torch.equal(images, before)
    assert torch.equal(result, changed(images, seed=seed, side=side, **knobs))


def test_without_augmentation_nothing_changes() -> None:
    images = framed_noise(5)
    assert torch.equal(changed(images), images)


@pytest.mark.parametrize("knobs", [{name: value} for name, value in ALL.items()], ids=list(ALL))
def test_another_seed_or_a_second_call_gives_other_changes(knobs: dict[str, Any]) -> None:
    images, shared = framed_noise(20), generator()
    assert not torch.equal(*(changed(images, seed=seed, **knobs) for seed in (0, 1)))
    assert not torch.equal(*(augment(images, TrialConfig(**knobs), generator=shared) for _ in range(2)))


def test_each_image_gets_its_own_changes() -> None:
    same = framed_noise(1).expand(20, -1, -1, -1)
    assert len({image.numpy().tobytes() for image in changed(same, **ALL)}) == 20


@pytest.mark.parametrize("shift", [0.1, 1.0, 1.7])
@pytest.mark.parametrize("flip", [False, True])
def test_shifts_and_flips_move_whole_pixels_and_blur_nothing(shift: float, flip: bool) -> None:
    images = framed_noise(600)
    moves = moves_of(images, changed(images, shift=shift, flip=flip))
    reach = math.ceil(shift)
    down, right, mirror = (set(column) for column in zip(*filter(None, moves), strict=True))
    assert None not in moves
    assert down == right == set(range(-reach, reach + 1))
    assert mirror == ({False, True} if flip else {False})


def test_moves_up_to_a_whole_number_are_equally_frequent_and_a_fraction_makes_the_outermost_rarer() -> None:
    images = framed_noise(1500)
    shares = {}
    for shift in (1.0, 0.25):
        moves = [move[0] for move in moves_of(images, changed(images, shift=shift)) if move]
        shares[shift] = [moves.count(down) / len(images) for down in (-1, 0, 1)]
    assert shares[1.0] == pytest.approx([1 / 3] * 3, abs=0.04)
    assert shares[0.25] == pytest.approx([1 / 6, 2 / 3, 1 / 6], abs=0.04)


def test_half_of_the_images_are_mirrored() -> None:
    images = framed_noise(2000)
    mirrored = (changed(images, flip=True) == images.flip(3)).all(dim=(1, 2, 3)).float().mean().item()
    assert mirrored == pytest.approx(0.5, abs=0.04)


@pytest.mark.parametrize("knobs", [{}, {"shift": 0.0}, {"augmentation": 0.01}])
def test_with_alternate_flips_the_caller_says_which_images_are_mirrored(knobs: dict[str, Any]) -> None:
    images, mirrored = framed_noise(6), torch.tensor([True, False, False, True, True, False])
    config = TrialConfig(flip="alternate", **knobs)
    result = augment(images, config, generator=generator(), mirrored=mirrored)
    expected = [(0, 0, bool(flag)) for flag in mirrored]
    assert moves_of(images, result) == expected


@pytest.mark.parametrize("strength", [0.2, 0.6])
def test_augmentation_rotates_and_scales_its_share_of_the_images(strength: float) -> None:
    images = framed_noise(1000)
    moves = moves_of(images, changed(images, augmentation=strength))
    assert set(moves) == {None, (0, 0, False)}
    assert moves.count(None) / 1000 == pytest.approx(strength, abs=0.05)


def test_more_augmentation_changes_more() -> None:
    images = framed_noise(500)
    changes = [(changed(images, augmentation=s) - images).abs().mean().item() for s in (0.0, 0.1, 0.5, 1.0)]
    assert changes == sorted(set(changes))
    assert changes[0] == 0


@pytest.mark.parametrize("longest", [0.2, 0.5])
def test_half_of_the_images_have_a_box_of_one_grey_erased(longest: float) -> None:
    erased = changed(torch.zeros((1000, 1, SIDE, SIDE)), erase=longest).squeeze(1)
    filled = erased[erased.amax((1, 2)) > 0]
    assert len(filled) / 1000 == pytest.approx(0.5, abs=0.05)
    sides = []
    for image in filled:
        rows, columns = image.any(dim=1), image.any(dim=0)
        assert len(image.unique()) == 2
        assert (image > 0).sum() == rows.sum() * columns.sum()
        sides.append(max(int(rows.sum()), int(columns.sum())))
    assert max(sides) == pytest.approx(longest * SIDE, abs=1)


def test_the_erased_box_shrinks_with_the_image() -> None:
    black = torch.zeros((4000, 1, SIDE, SIDE))
    shares = [(changed(black, erase=0.5, side=side) > 0).float().mean().item() for side in (28, 14)]
    assert shares[1] == pytest.approx(shares[0], rel=0.15)


@pytest.mark.parametrize("side", [14, 20])
@pytest.mark.parametrize("knobs", [{}, {"flip": True}, {"shift": 1.0, "augmentation": 0.5}])
def test_images_are_resized_with_or_without_augmentation(side: int, knobs: dict[str, Any]) -> None:
    images = framed_noise(300)
    result = changed(images, side=side, **knobs)
    assert result.shape == (300, 1, side, side)
    assert result.mean().item() == pytest.approx(images.mean().item(), rel=0.02)
    assert torch.equal(result, resized(images, side)) == (not knobs)


def test_mixup_blends_values_with_the_ones_before_them() -> None:
    images = torch.rand((3, 8, 1, 4, 4), generator=generator(1))
    weights = mixup_weights(3, 8, 0.4, generator())
    assert weights.min() >= 0
    assert 0.3 < weights.max() <= 0.4
    before = torch.cat((images[:, -1:], images[:, :-1]), dim=1)
    by_image = weights[:, :, None, None, None]
    torch.testing.assert_close(mixed_up(images, weights), (1 - by_image) * images + by_image * before)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_images_on_a_gpu_are_augmented_there() -> None:
    images = framed_noise(8).cuda()
    result = augment(images, TrialConfig(**ALL), generator=Generator("cuda").manual_seed(0))
    assert result.device == images.device
    assert not torch.equal(result, images)
