"""Network: an Architecture as a module, 28x28 grey images to class scores. What all families of networks share is
here.
"""

import copy
from typing import Protocol, assert_never, runtime_checkable

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from fmnist.network.activations import activation_module
from fmnist.network.architecture import Architecture

MEAN, STD = 0.2860, 0.3530  # of Fashion-MNIST's training pixels, scaled to 0..1


class Network(nn.Module):
    """Scales the images, and passes them through the architecture's blocks, its head and its dense layers."""

    mean: Tensor
    std: Tensor

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(MEAN))
        self.register_buffer("std", torch.tensor(STD))
        self.head, self.mirror, self.last_side = (
            architecture.config.head,
            architecture.config.mirror,
            architecture.maps[-1],
        )
        self.stages = nn.Sequential(*(block.module() for block in architecture.blocks))
        self.classifier = _classifier(architecture)

    def forward(self, images: Tensor) -> Tensor:
        """Shape: float [N, 1, 28, 28], or smaller ones in training, in 0..1 -> logits [N, classes].

        Where the configuration says so, evaluation (not training) takes the mean over each image and its mirror.
        """
        if self.mirror and not self.training:
            return (self._logits(images) + self._logits(images.flip(3))) / 2
        return self._logits(images)

    def _logits(self, images: Tensor) -> Tensor:
        x = self.stages((images - self.mean) / self.std)  # [N, width, h, w]
        match self.head:
            case "flatten":
                # Smaller images leave a smaller map than the classifier reads.
                x = (x if x.shape[-1] == self.last_side else stretched(x, self.last_side)).flatten(1)
            case "max":
                x = x.amax(dim=(2, 3))
            case "avg":
                x = x.mean(dim=(2, 3))
            case _:
                assert_never(self.head)
        logits: Tensor = self.classifier(x)
        return logits


def stretched(x: Tensor, side: int) -> Tensor:
    """Bilinear interpolation as two products with a small matrix: the backward pass of `interpolate` is not
    deterministic on CUDA.

    Shape: [N, C, S, S] -> [N, C, side, side].
    """
    unit = torch.eye(x.shape[-1], device=x.device, dtype=x.dtype).unsqueeze(0)
    weights = interpolate(unit, side, mode="linear")[0]  # [S, side]
    return weights.T @ x @ weights


@runtime_checkable
class Foldable(Protocol):
    """A block that can do without its norms in evaluation."""

    def fold(self) -> None:
        """Norms are part of the convolutions before them, and the scores stay the same to the last digits."""


def folded(model: Network) -> Network:
    """A copy in evaluation mode that scores the same to the last digits, in up to half the time: norms are folded into
    convolutions.
    """
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
