"""Batched augmentation as pure tensor functions on the images' own device; one strength in [0, 1] drives all of it.

At strength s: mirrored with probability min(0.5, 5s) where `flip` allows it, shifted by up to 4s whole pixels, turned
by up to 15s degrees and scaled by up to 15s % (both in a share s of the images, because interpolation blurs), and a
rectangle of up to 14 pixels a side painted over in a share s/2 (random erasing, Zhong et al. 2017, arXiv 1708.04896).
"""

import math

import torch
from torch import Generator, Tensor
from torch.nn.functional import grid_sample, interpolate

MAX_SHIFT = 4.0  # pixels
MAX_TURN = math.radians(15)
MAX_SCALE = 0.15
ERASE_SIDES = (3, 14)  # pixels


def augment(images: Tensor, strength: float, *, flip: bool, generator: Generator, side: int | None = None) -> Tensor:
    """Randomly changed copies of `images`, the same images at strength 0; brought to `side` pixels where that is given.

    Shape: float [N, 1, S, S] in 0..1 -> [N, 1, side, side].
    """
    before = images.shape[-1]
    side = side or before
    if strength == 0:
        return resized(images, side)
    # Moved and made smaller in one interpolation.
    moved = _move(images, side, strength, flip, generator)
    return _erase(moved, side / before, strength, generator)


def resized(images: Tensor, side: int) -> Tensor:
    """The images at `side` pixels, antialiased; those that have as many as they are. Shape: [N, 1, S, S] -> [N, 1,
    side, side].
    """
    return images if images.shape[-1] == side else interpolate(images, (side, side), mode="bilinear", antialias=True)


def _move(images: Tensor, side: int, strength: float, flip: bool, generator: Generator) -> Tensor:
    count, before = len(images), images.shape[-1]
    warped = _uniform(count, generator).lt(strength)
    turn = _signed(count, generator) * (MAX_TURN * strength) * warped
    scale = 1 + _signed(count, generator) * (MAX_SCALE * strength) * warped
    mirror = 1 - 2 * _uniform(count, generator).lt(min(0.5, 5 * strength) if flip else 0).float()
    # Whole pixels: an image that is only shifted or mirrored stays as sharp as the ones it is tested on.
    shift = (_signed((count, 2), generator) * (MAX_SHIFT * strength)).round() * (2 / before)
    cos, sin = torch.cos(turn) * scale, torch.sin(turn) * scale
    # As affine_grid, which multiplies a small matrix an image and takes three times as long on a CPU.
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
    places = torch.arange(side, device=images.device)
    rows = (places - centre[:, :1]).abs().lt(sides[:, :1] / 2)  # [N, S]
    columns = (places - centre[:, 1:]).abs().lt(sides[:, 1:] / 2)  # [N, S]
    inside = (rows.unsqueeze(2) & columns.unsqueeze(1)).unsqueeze(1)  # [N, 1, S, S]
    paint = _uniform(count, generator).view(count, 1, 1, 1)
    return torch.where(inside, paint, images)


def _uniform(shape: int | tuple[int, ...], generator: Generator) -> Tensor:
    return torch.rand(shape, generator=generator, device=generator.device)


def _signed(shape: int | tuple[int, ...], generator: Generator) -> Tensor:
    return 2 * _uniform(shape, generator) - 1
