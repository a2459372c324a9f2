"""The layers of a network with their shapes, and the parameters, operations and memory that follow from them.

These figures need no module, because building one takes a tenth of a second in every trial.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from math import prod

from torch import nn

from fmnist.config import TrialConfig

Shape = tuple[int, ...]  # of one image within the network: [channels, height, width], or [features]
FLOAT32, INT64 = 4, 8  # bytes
SCALING = 2  # numbers: mean and standard deviation of the pixels
# Moves of an image in pixels, down and right, and their weights in the mean score (KellerJordan/cifar10-airbench).
MOVES = (((0, 0), 0.5), ((-1, -1), 0.25), ((1, 1), 0.25))


@dataclass(frozen=True)
class Layer:
    """A convolution, or a dense layer if the shapes are vectors. It has a norm or else a bias.

    In a convolution of several `groups`, each output channel sees only the input channels of its group.
    """

    input: Shape
    output: Shape
    kernel_size: int = 1
    norm: bool = False
    groups: int = 1

    @property
    def weights(self) -> int:
        """Weights without norm and bias."""
        return self.input[0] // self.groups * self.output[0] * self.kernel_size**2

    @property
    def parameters(self) -> int:
        """Trainable parameters: the weights, and for each channel a bias, or the scale and shift of the norm."""
        return self.weights + (2 if self.norm else 1) * self.output[0]

    @property
    def flops(self) -> int:
        """Floating-point operations for one image, two per multiply-add, without those of the norm."""
        return 2 * self.weights * prod(self.output[1:])

    @property
    def weight_bytes(self) -> int:
        """Bytes of the parameters and of the norm's statistics: mean and variance per channel, and a batch counter."""
        return FLOAT32 * self.parameters + (2 * FLOAT32 * self.output[0] + INT64 if self.norm else 0)


@dataclass(frozen=True)
class Block:
    """Layers, the factory of their module, and its output shape, which pooling makes smaller than the last layer's."""

    layers: tuple[Layer, ...]
    output: Shape
    module: Callable[[], nn.Module]


@dataclass(frozen=True)
class Architecture:
    """The blocks, a head that reduces the last maps to a vector, and dense layers that give the class scores."""

    config: TrialConfig
    blocks: tuple[Block, ...]
    classes: int

    @property
    def maps(self) -> Shape:
        """The input of the head."""
        return self.blocks[-1].output

    @property
    def dense(self) -> tuple[Layer, ...]:
        """The layers after the head."""
        features = prod(self.maps) if self.config.head == "flatten" else self.maps[0]
        sizes = (features, self.config.hidden, self.classes) if self.config.hidden else (features, self.classes)
        return tuple(Layer((inputs,), (outputs,)) for inputs, outputs in pairwise(sizes))

    @property
    def layers(self) -> tuple[Layer, ...]:
        """All layers in the order of the forward pass."""
        return (*(layer for block in self.blocks for layer in block.layers), *self.dense)

    @property
    def parameters(self) -> int:
        """Trainable parameters."""
        return sum(layer.parameters for layer in self.layers)

    @property
    def pass_flops(self) -> int:
        """Floating-point operations of the forward pass of one image, convolutions and dense layers only."""
        return sum(layer.flops for layer in self.layers)

    @property
    def views(self) -> int:
        """Forward passes to score an image: of its mirror image and of its moves, if their scores are averaged."""
        return (2 if self.config.mirror else 1) * (len(MOVES) if self.config.translate else 1)

    @property
    def flops(self) -> int:
        """Floating-point operations to score one image, all its views."""
        return self.views * self.pass_flops

    @property
    def weight_bytes(self) -> int:
        """Bytes of the weights file: float32, with the statistics of the norms, without the header."""
        return FLOAT32 * SCALING + sum(layer.weight_bytes for layer in self.layers)

    def training_floor(self, *, mixed: bool) -> int:
        """Return a lower bound of a training's bytes: weights, gradients, moments, and one map per layer."""
        copies = 5 if self.config.ema else 4
        maps = sum(prod(layer.output) for layer in self.layers)
        return FLOAT32 * copies * self.parameters + (2 if mixed else FLOAT32) * self.config.batch_size * maps

    def scoring_floor(self, images: int) -> int:
        """Return a lower bound of the bytes to score a batch: input and output of the largest convolution."""
        maps = (prod(layer.input) + prod(layer.output) for block in self.blocks for layer in block.layers)
        return FLOAT32 * images * max(maps)
