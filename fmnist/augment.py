"""Batched augmentation as pure tensor functions on the device of the images, each part a knob of its own.

`flip` mirrors half of the images. `shift` moves them by whole pixels, so that images that are only moved or mirrored
stay sharp, like those of the test: with 1 by -1, 0 or 1 equally often, and with a fraction the outermost moves are
rarer. `augmentation` s rotates a share s of the images by up to 15s degrees and scales them by up to 15s %; not all,
because interpolation blurs. `erase` fills a box in half of them with one grey or colour (random erasing, Zhong et al.
2017, arXiv 1708.04896). `mixup` blends each image with the one before it in the batch (Zhang et al. 2018, arXiv
1710.09412, here with a uniform share in place of a beta-distributed one).
"""

import math

import torch
from torch import Generator, Tensor
from torch.nn.functional import grid_sample, interpolate

from fmnist.config import TrialConfig

MAX_ROTATION = math.radians(15)
MAX_SCALE = 0.15
ERASED_SHARE = 0.5  # of the images
SHORTEST = 0.25  # side of an erased box, as a share of the longest


def augment(
    images: Tensor,
    config: TrialConfig,
    *,
    generator: Generator,
    side: int | None = None,
    mirrored: Tensor | None = None,
) -> Tensor:
    """Return randomly changed copies of `images` at `side` pixels; without augmentation they are only resized.

    Args:
        mirrored: Which images to mirror if flips alternate. Shape: bool [N].

    Shape: float [N, C, S, S] in 0..1 -> [N, C, side, side].
    """
    side = side or images.shape[-1]
    if config.flip is True:
        mirrored = _uniform(len(images), generator).lt(0.5)
    if config.shift or config.augmentation:
        moved = _moved(images, side, config, mirrored, generator)
    elif mirrored is not None:
        moved = resized(torch.where(mirrored.view(-1, 1, 1, 1), images.flip(3), images), side)
    else:
        moved = resized(images, side)
    return _erased(moved, config.erase, generator) if config.erase else moved


def mixup_weights(batches: int, size: int, share: float, generator: Generator) -> Tensor:
    """Return for each image the weight of the one before it in the batch, up to `share`. Shape: [B, N]."""
    return share * _uniform((batches, size), generator)


def mixed_up(values: Tensor, weights: Tensor) -> Tensor:
    """Return images or targets, each blended with the one before it. Shape: [B, N, ...], [B, N] -> [B, N, ...]."""
    return values.lerp(values.roll(1, 1), weights.view(*weights.shape, *[1] * (values.ndim - 2)))


def resized(images: Tensor, side: int) -> Tensor:
    """Return the images resized to `side` pixels, antialiased. Shape: [N, C, S, S] -> [N, C, side, side]."""
    return images if images.shape[-1] == side else interpolate(images, (side, side), mode="bilinear", antialias=True)


def _moved(images: Tensor, side: int, config: TrialConfig, mirrored: Tensor | None, generator: Generator) -> Tensor:
    # One interpolation moves, mirrors and resizes.
    count, side_before, strength = len(images), images.shape[-1], config.augmentation
    mirror = torch.ones(count, device=images.device) if mirrored is None else 1 - 2 * mirrored.float()
    shift = (_signed((count, 2), generator) * (config.shift + 0.5)).round() * (2 / side_before)
    # The same as affine_grid, which multiplies one small matrix per image and takes three times as long on a CPU.
    at = (torch.arange(side, device=images.device) * 2 + 1) / side - 1  # centres of the new pixels, from -1 to 1
    x, y = at.view(1, 1, side), at.view(1, side, 1)
    if strength:
        warped = _uniform(count, generator).lt(strength)
        rotation = _signed(count, generator) * (MAX_ROTATION * strength) * warped
        scale = 1 + _signed(count, generator) * (MAX_SCALE * strength) * warped
        cos, sin = torch.cos(rotation) * scale, torch.sin(rotation) * scale
        columns = (cos * mirror).view(-1, 1, 1) * x + (shift[:, :1, None] - sin.view(-1, 1, 1) * y)  # [N, S, S]
        rows = (sin * mirror).view(-1, 1, 1) * x + (shift[:, 1:, None] + cos.view(-1, 1, 1) * y)
    else:
        columns = (mirror.view(-1, 1, 1) * x + shift[:, :1, None]).expand(count, side, side)
        rows = (y + shift[:, 1:, None]).expand(count, side, side)
    return grid_sample(images, torch.stack((columns, rows), dim=3), align_corners=False)


def _erased(images: Tensor, longest: float, generator: Generator) -> Tensor:
    count, side = len(images), images.shape[-1]
    sides = longest * side * (SHORTEST + (1 - SHORTEST) * _uniform((count, 2), generator))
    sides = sides * _uniform((count, 1), generator).lt(ERASED_SHARE)
    centre = _uniform((count, 2), generator) * side
    pixels = torch.arange(side, device=images.device)
    rows = (pixels - centre[:, :1]).abs().lt(sides[:, :1] / 2)  # [N, S]
    columns = (pixels - centre[:, 1:]).abs().lt(sides[:, 1:] / 2)  # [N, S]
    inside = (rows.unsqueeze(2) & columns.unsqueeze(1)).unsqueeze(1)  # [N, 1, S, S]
    colour = _uniform(images.shape[:2], generator).view(count, -1, 1, 1)
    return torch.where(inside, colour, images)


def _uniform(shape: int | tuple[int, ...], generator: Generator) -> Tensor:
    return torch.rand(shape, generator=generator, device=generator.device)


def _signed(shape: int | tuple[int, ...], generator: Generator) -> Tensor:
    return 2 * _uniform(shape, generator) - 1
