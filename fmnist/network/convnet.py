"""ConvNet: stages of convolutions from a TrialConfig, 28x28 grey images to class scores."""

import copy
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, assert_never

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate
from torch.nn.utils.fusion import fuse_conv_bn_eval

from fmnist.config import Activation, TrialConfig
from fmnist.data.images import SIDE
from fmnist.grey import convolve_grey

MEAN, STD = 0.2860, 0.3530  # of Fashion-MNIST's training pixels, scaled to 0..1


class ConvBlock(nn.Module):
    """Convolution, norm, activation; with max pooling before or after the last two, and a shortcut where shapes agree.

    Pooling before the norm leaves a quarter of the elementwise work (KellerJordan/cifar10-airbench). It rounds up, so that a
    7x7 map keeps its border and no depth can pool an image away.
    """

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        *,
        kernel_size: int,
        batch_norm: bool,
        activation: Activation,
        pool: Literal["before", "after"] | None,
        residual: bool,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels_in, channels_out, kernel_size, padding="same", bias=not batch_norm)
        if not self.conv.weight.is_meta:  # which has no numbers; to draw normal ones there imports PyTorch's compiler, for seconds
            nn.init.kaiming_normal_(self.conv.weight, nonlinearity="relu")
        self.norm = nn.BatchNorm2d(channels_out) if batch_norm else nn.Identity()
        self.activation = _activation(activation)
        halve = nn.MaxPool2d(2, ceil_mode=True)
        self.pool_before = halve if pool == "before" else nn.Identity()
        self.pool_after = halve if pool == "after" else nn.Identity()
        self.rises = activation == "relu"
        self.shortcut = residual and pool is None and channels_in == channels_out

    def forward(self, x: Tensor) -> Tensor:
        """Shape: [N, channels_in, H, W] -> [N, channels_out, H', W'], H' = ceil(H/2) where it pools, else H."""
        on_cuda_grey = x.is_cuda and self.conv.in_channels == 1
        y: Tensor = convolve_grey(x, self.conv.weight, self.conv.bias) if on_cuda_grey else self.conv(x)
        y = self.norm(self.pool_before(y))
        # A maximum and a rising activation commute, and pooled first there is a quarter to activate.
        y = self.activation(self.pool_after(y)) if self.rises else self.pool_after(self.activation(y))
        return x + y if self.shortcut else y

    def fold(self) -> None:
        """In evaluation the norm is part of the convolution, where no pooling lies between the two: a maximum turns with a scale's sign."""
        if isinstance(self.norm, nn.BatchNorm2d) and isinstance(self.pool_before, nn.Identity):
            self.conv, self.norm = fuse_conv_bn_eval(self.conv, self.norm), nn.Identity()


class ConvNet(nn.Module):
    """The network that `config` describes, for `classes` classes.

    The first block of a stage changes the width and pools; further blocks keep the shape.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, config: TrialConfig, classes: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(MEAN))
        self.register_buffer("std", torch.tensor(STD))
        self.head, self.mirror, self.last_side = config.head, config.mirror, _last_side(config)
        self.stages = nn.Sequential(*_stages(config))
        self.classifier = _classifier(config, classes)

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
    """Bilinear interpolation as two products with a small matrix: the backward pass of `interpolate` is not deterministic on CUDA.

    Shape: [N, C, S, S] -> [N, C, side, side].
    """
    unit = torch.eye(x.shape[-1], device=x.device, dtype=x.dtype).unsqueeze(0)
    weights = interpolate(unit, side, mode="linear")[0]  # [S, side]
    return weights.T @ x @ weights


def folded(model: ConvNet) -> ConvNet:
    """A copy in evaluation mode that scores the same to the last digits, in up to half the time: norms are folded into convolutions."""
    quick = copy.deepcopy(model).eval()
    for block in quick.stages:
        assert isinstance(block, ConvBlock)
        block.fold()
    return quick


def parameter_count(config: TrialConfig, classes: int) -> int:
    """Trainable parameters of the network."""
    biases = sum(layer.outputs for layer in _layers(config, classes))
    # A norm has a scale and a shift for every channel, and the convolution before it no bias.
    scales = config.blocks * sum(config.widths) if config.batch_norm else 0
    return sum(layer.weights for layer in _layers(config, classes)) + biases + scales


def flop_count(config: TrialConfig, classes: int) -> int:
    """Floating-point operations of one image's pass in training, two a multiply-add; convolutions and dense layers only."""
    return sum(2 * layer.weights * layer.places for layer in _layers(config, classes))


def weight_bytes(config: TrialConfig, classes: int) -> int:
    """Of the network's weights as a file holds them, in float32, with the statistics of its norms; without the file's header."""
    channels = config.blocks * sum(config.widths) if config.batch_norm else 0
    norms = config.blocks * config.depth if config.batch_norm else 0
    counters = 8 * norms  # of batches, in 64 bits
    scaling = 2  # mean and deviation of the pixels
    return 4 * (parameter_count(config, classes) + 2 * channels + scaling) + counters


def memory_floor(config: TrialConfig, classes: int, *, mixed: bool) -> int:
    """Bytes that a training takes at the least: weights, gradients, Adam's moments, and one map a convolution for the way back."""
    maps = sum(layer.outputs * layer.places for layer in _layers(config, classes))
    copies = 5 if config.ema else 4
    return 4 * copies * parameter_count(config, classes) + (2 if mixed else 4) * config.batch_size * maps


@dataclass(frozen=True)
class _Layer:
    weights: int
    outputs: int  # channels or units
    places: int  # where the weights are applied


def _layers(config: TrialConfig, classes: int) -> Iterator[_Layer]:
    # Reckoned, not read off a network: building one takes a tenth of a second, and every trial wants its figures.
    before, side = 1, SIDE
    for width in config.widths:
        for index in range(config.blocks):
            yield _Layer(before * width * config.kernel_size**2, width, side * side)
            before, side = width, math.ceil(side / 2) if index == 0 else side
    features = before * side * side if config.head == "flatten" else before
    for units in (config.hidden, classes) if config.hidden else (classes,):
        yield _Layer(features * units, units, 1)
        features = units


def _stages(config: TrialConfig) -> list[nn.Module]:
    blocks: list[nn.Module] = []
    before = 1
    for width in config.widths:
        for index in range(config.blocks):
            block = ConvBlock(
                before,
                width,
                kernel_size=config.kernel_size,
                batch_norm=config.batch_norm,
                activation=config.activation,
                pool=config.pool if index == 0 else None,
                residual=config.residual,
            )
            blocks.append(block)
            before = width
    return blocks


def _last_side(config: TrialConfig) -> int:
    """Of the last map: halved `depth` times, rounding up as the pooling does."""
    return math.ceil(SIDE / (1 << config.depth))


def _classifier(config: TrialConfig, classes: int) -> nn.Module:
    features = config.widths[-1] * (_last_side(config) ** 2 if config.head == "flatten" else 1)
    if config.hidden == 0:
        return nn.Sequential(nn.Dropout(config.dropout), nn.Linear(features, classes))
    return nn.Sequential(
        nn.Dropout(config.dropout),
        nn.Linear(features, config.hidden),
        _activation(config.activation),
        nn.Dropout(config.dropout),
        nn.Linear(config.hidden, classes),
    )


def _activation(name: Activation) -> nn.Module:
    match name:
        case "relu":
            return nn.ReLU(inplace=True)  # a pass over memory less
        case "gelu":
            return nn.GELU()
        case "silu":
            return nn.SiLU()
        case _:
            assert_never(name)
