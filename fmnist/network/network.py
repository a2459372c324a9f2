"""Network: the module of an Architecture, from images to class scores, shared by all families."""

import copy
from typing import Protocol, assert_never, runtime_checkable

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, pad

from fmnist.network.activations import activation_module
from fmnist.network.architecture import MOVES, Architecture

MEAN, STD = 0.2860, 0.3530  # of Fashion-MNIST's training pixels in 0..1; for each channel of all images


class Network(nn.Module):
    """Normalisation, then the architecture's blocks, head and dense layers."""

    mean: Tensor
    std: Tensor

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(MEAN))
        self.register_buffer("std", torch.tensor(STD))
        config = architecture.config
        self.head, self.mirror, self.translate = config.head, config.mirror, config.translate
        self.views = architecture.views  # in evaluation, of each image
        self.last_side = architecture.maps[-1]
        self.stages = nn.Sequential(*(block.module() for block in architecture.blocks))
        self.classifier = _classifier(architecture)

    def forward(self, images: Tensor) -> Tensor:
        """Shape: float [N, channels, side, side], or smaller ones in training, in 0..1 -> logits [N, classes].

        In evaluation, the knob `mirror` averages over each image and its mirror image, `translate` over moves of them.
        """
        if self.training or self.views == 1:
            return self._logits(images)
        views, weights = _views(images, is_mirrored=self.mirror, pixels=self.translate)
        scores = self._logits(torch.cat(views)).unflatten(0, (self.views, -1))  # [views, N, classes], in one pass
        mean: Tensor = sum(weight * of_view for weight, of_view in zip(weights, scores, strict=True))  # type: ignore[assignment]
        return mean

    def _logits(self, images: Tensor) -> Tensor:
        x = self.stages((images - self.mean) / self.std)  # [N, width, h, w]
        match self.head:
            case "flatten":
                # Smaller images have a smaller map than the classifier expects.
                x = (x if x.shape[-1] == self.last_side else stretched(x, self.last_side)).flatten(1)
            case "max":
                x = x.amax(dim=(2, 3))
            case "avg":
                x = x.mean(dim=(2, 3))
            case _:
                assert_never(self.head)
        logits: Tensor = self.classifier(x)
        return logits


def _views(images: Tensor, *, is_mirrored: bool, pixels: int) -> tuple[list[Tensor], list[float]]:
    """Return copies of the images, mirrored and moved, and the weight of each in the mean score."""
    views = [images, images.flip(3)] if is_mirrored else [images]
    if not pixels:
        return views, [1 / len(views)] * len(views)
    side, moved = images.shape[-1], list[Tensor]()
    for padded in (pad(view, (pixels,) * 4) for view in views):
        for (down, right), _ in MOVES:
            moved.append(padded[..., pixels * (1 - down) :, pixels * (1 - right) :][..., :side, :side])
    return moved, [weight / len(views) for _, weight in MOVES] * len(views)


def stretched(x: Tensor, side: int) -> Tensor:
    """Interpolate bilinearly by two matrix products; the backward pass of `interpolate` is nondeterministic on CUDA.

    Shape: [N, C, S, S] -> [N, C, side, side].
    """
    unit = torch.eye(x.shape[-1], device=x.device, dtype=x.dtype).unsqueeze(0)
    weights = interpolate(unit, side, mode="linear")[0]  # [S, side]
    return weights.T @ x @ weights


@runtime_checkable
class Foldable(Protocol):
    """A block whose norms can be folded into its convolutions."""

    def fold(self) -> None:
        """Fold norms into the convolutions before them, which keeps the scores up to rounding."""


def folded(model: Network) -> Network:
    """Return a copy in evaluation mode with folded norms: the same scores up to rounding, up to twice as fast."""
    quick = copy.deepcopy(model).eval()
    for block in quick.stages:
        if isinstance(block, Foldable):
            block.fold()
    return quick


def _classifier(architecture: Architecture) -> nn.Sequential:
    modules: list[nn.Module] = []
    for layer in architecture.dense:
        dense = nn.Linear(layer.input[0], layer.output[0])
        modules += [nn.Dropout(architecture.config.dropout), dense, activation_module(architecture.config.activation)]
    return nn.Sequential(*modules[:-1])  # class scores are not activated
