"""Batched augmentation as pure tensor functions on the images' own device; one strength in [0, 1] drives all of it.

At strength s: mirrored with probability min(0.5, 5s) where `flip` allows it, shifted by up to 4s whole pixels, turned by up
to 15s degrees and scaled by up to 15s % (both in a share s of the images, because interpolation blurs), and a rectangle of up to 14 pixels
a side painted over in a share s/2 (random erasing, Zhong et al. 2017, arXiv 1708.04896).
"""

import math

import torch
from torch import Generator, Tensor
from torch.nn.functional import affine_grid, grid_sample

MAX_SHIFT = 4.0  # pixels
MAX_TURN = math.radians(15)
MAX_SCALE = 0.15
ERASE_SIDES = (3, 14)  # pixels


def augment(images: Tensor, strength: float, *, flip: bool, generator: Generator) -> Tensor:
    """Randomly changed copies of `images`, the same images at strength 0.

    Shape: float [N, 1, H, W] in 0..1, in and out.
    """
    if strength == 0:
        return images
    moved = _move(images, strength, flip, generator)
    return _erase(moved, strength, generator)


def _move(images: Tensor, strength: float, flip: bool, generator: Generator) -> Tensor:
    count, side = len(images), images.shape[-1]
    warped = _uniform(count, generator).lt(strength)
    turn = _signed(count, generator) * (MAX_TURN * strength) * warped
    scale = 1 + _signed(count, generator) * (MAX_SCALE * strength) * warped
    mirror = 1 - 2 * _uniform(count, generator).lt(min(0.5, 5 * strength) if flip else 0).float()
    # Whole pixels: an image that is only shifted or mirrored stays as sharp as the ones it is tested on.
    shift = (_signed((count, 2), generator) * (MAX_SHIFT * strength)).round() * (2 / side)
    cos, sin = torch.cos(turn) * scale, torch.sin(turn) * scale
    linear = torch.stack((cos * mirror, -sin, sin * mirror, cos), dim=1).view(count, 2, 2)
    theta = torch.cat((linear, shift.unsqueeze(2)), dim=2)  # [N, 2, 3]
    grid = affine_grid(theta, list(images.shape), align_corners=False)
    return grid_sample(images, grid, align_corners=False)


def _erase(images: Tensor, strength: float, generator: Generator) -> Tensor:
    count, (height, width) = len(images), images.shape[-2:]
    low, high = ERASE_SIDES
    sides = low + _uniform((count, 2), generator) * (high - low)
    sides = sides * _uniform((count, 1), generator).lt(strength / 2)
    centre = _uniform((count, 2), generator) * torch.tensor([height, width], device=images.device)
    rows = (torch.arange(height, device=images.device) - centre[:, :1]).abs().lt(sides[:, :1] / 2)  # [N, H]
    columns = (torch.arange(width, device=images.device) - centre[:, 1:]).abs().lt(sides[:, 1:] / 2)  # [N, W]
    inside = (rows.unsqueeze(2) & columns.unsqueeze(1)).unsqueeze(1)  # [N, 1, H, W]
    paint = _uniform(count, generator).view(count, 1, 1, 1)
    return torch.where(inside, paint, images)


def _uniform(shape: int | tuple[int, ...], generator: Generator) -> Tensor:
    return torch.rand(shape, generator=generator, device=generator.device)


def _signed(shape: int | tuple[int, ...], generator: Generator) -> Tensor:
    return 2 * _uniform(shape, generator) - 1
