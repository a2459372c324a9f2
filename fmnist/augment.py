"""Batched augmentation as pure tensor functions on the device of the images, with one strength in [0, 1].

At strength s, images are mirrored with probability min(0.5, 5s) if `flip` is set, and shifted by up to 4s whole pixels.
A share s of them is rotated by up to 15s degrees and scaled by up to 15s %; not all, because interpolation blurs. In a
share s/2, a rectangle with sides of up to 14 pixels is filled (random erasing, Zhong et al. 2017, arXiv 1708.04896).
"""

import math

import torch
from torch import Generator, Tensor
from torch.nn.functional import grid_sample, interpolate

MAX_SHIFT = 4.0  # pixels
MAX_ROTATION = math.radians(15)
MAX_SCALE = 0.15
ERASE_SIDES = (3, 14)  # pixels


def augment(images: Tensor, strength: float, *, flip: bool, generator: Generator, side: int | None = None) -> Tensor:
    """Return randomly changed copies of `images` at `side` pixels; at strength 0 they are only resized.

    Shape: float [N, 1, S, S] in 0..1 -> [N, 1, side, side].
    """
    side_before = images.shape[-1]
    side = side or side_before
    if strength == 0:
        return resized(images, side)
    moved = _move(images, side, strength, flip, generator)
    return _erase(moved, side / side_before, strength, generator)


def resized(images: Tensor, side: int) -> Tensor:
    """Return the images resized to `side` pixels, antialiased. Shape: [N, 1, S, S] -> [N, 1, side, side]."""
    return images if images.shape[-1] == side else interpolate(images, (side, side), mode="bilinear", antialias=True)


def _move(images: Tensor, side: int, strength: float, flip: bool, generator: Generator) -> Tensor:
    # One interpolation both moves and resizes.
    count, side_before = len(images), images.shape[-1]
    warped = _uniform(count, generator).lt(strength)
    rotation = _signed(count, generator) * (MAX_ROTATION * strength) * warped
    scale = 1 + _signed(count, generator) * (MAX_SCALE * strength) * warped
    mirror = 1 - 2 * _uniform(count, generator).lt(min(0.5, 5 * strength) if flip else 0).float()
    # Whole pixels, so that images that are only shifted or mirrored stay sharp, like those of the test.
    shift = (_signed((count, 2), generator) * (MAX_SHIFT * strength)).round() * (2 / side_before)
    cos, sin = torch.cos(rotation) * scale, torch.sin(rotation) * scale
    # The same as affine_grid, which multiplies one small matrix per image and takes three times as long on a CPU.
    at = (torch.arange(side, device=images.device) * 2 + 1) / side - 1  # centres of the new pixels, from -1 to 1
    x, y = at.view(1, 1, side), at.view(1, side, 1)
    columns = (cos * mirror).view(-1, 1, 1) * x + (shift[:, :1, None] - sin.view(-1, 1, 1) * y)  # [N, S, S]
    rows = (sin * mirror).view(-1, 1, 1) * x + (shift[:, 1:, None] + cos.view(-1, 1, 1) * y)
    return grid_sample(images, torch.stack((columns, rows), dim=3), align_corners=False)


def _erase(images: Tensor, scale: float, strength: float, generator: Generator) -> Tensor:
    count, side = len(images), images.shape[-1]
    low, high = ERASE_SIDES
    sides = scale * (low + _uniform((count, 2), generator) * (high - low))
    sides = sides * _uniform((count, 1), generator).lt(strength / 2)
    centre = _uniform((count, 2), generator) * side
    pixels = torch.arange(side, device=images.device)
    rows = (pixels - centre[:, :1]).abs().lt(sides[:, :1] / 2)  # [N, S]
    columns = (pixels - centre[:, 1:]).abs().lt(sides[:, 1:] / 2)  # [N, S]
    inside = (rows.unsqueeze(2) & columns.unsqueeze(1)).unsqueeze(1)  # [N, 1, S, S]
    grey = _uniform(count, generator).view(count, 1, 1, 1)
    return torch.where(inside, grey, images)


def _uniform(shape: int | tuple[int, ...], generator: Generator) -> Tensor:
    return torch.rand(shape, generator=generator, device=generator.device)


def _signed(shape: int | tuple[int, ...], generator: Generator) -> Tensor:
    return 2 * _uniform(shape, generator) - 1
