"""A network before it is built: layers with their shapes. Parameters, operations and memory follow from these.

They are not read off a module: building one takes a tenth of a second, and every trial wants its figures.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from math import prod

from torch import nn

from fmnist.config import TrialConfig

Shape = tuple[int, ...]  # of one image on its way through the network: [channels, height, width], or [features]
FLOAT32, INT64 = 4, 8  # bytes
SCALING = 2  # numbers: mean and deviation of the pixels


@dataclass(frozen=True)
class Layer:
    """A convolution, or a dense layer where the shapes are of vectors. It has a norm where `norm` says so, else a
    bias.
    """

    input: Shape
    output: Shape
    kernel_size: int = 1
    norm: bool = False

    @property
    def weights(self) -> int:
        """Without norm and bias."""
        return self.input[0] * self.output[0] * self.kernel_size**2

    @property
    def parameters(self) -> int:
        """Trainable ones: the weights, and for each channel a bias, or a norm's scale and shift."""
        return self.weights + (2 if self.norm else 1) * self.output[0]

    @property
    def flops(self) -> int:
        """Floating-point operations of one image, two a multiply-add; those of the norm are left out."""
        return 2 * self.weights * prod(self.output[1:])

    @property
    def weight_bytes(self) -> int:
        """Of the parameters, and of a norm's statistics: mean and variance of each channel, and a counter of
        batches.
        """
        return FLOAT32 * self.parameters + (2 * FLOAT32 * self.output[0] + INT64 if self.norm else 0)


@dataclass(frozen=True)
class Block:
    """Layers, what builds their module, and the shape of what that gives: pooling makes it smaller than the last
    layer's.
    """

    layers: tuple[Layer, ...]
    output: Shape
    module: Callable[[], nn.Module]


@dataclass(frozen=True)
class Architecture:
    """A family's blocks, a head that makes one vector of the last one's maps, and dense layers from there to the class
    scores.
    """

    config: TrialConfig
    blocks: tuple[Block, ...]
    classes: int

    @property
    def maps(self) -> Shape:
        """What the head reads."""
        return self.blocks[-1].output

    @property
    def dense(self) -> tuple[Layer, ...]:
        """The layers after the head."""
        features = prod(self.maps) if self.config.head == "flatten" else self.maps[0]
        sizes = (features, self.config.hidden, self.classes) if self.config.hidden else (features, self.classes)
        return tuple(Layer((before,), (after,)) for before, after in pairwise(sizes))

    @property
    def layers(self) -> tuple[Layer, ...]:
        """All of them, in the order in which they compute."""
        return (*(layer for block in self.blocks for layer in block.layers), *self.dense)

    @property
    def parameters(self) -> int:
        """Trainable ones."""
        return sum(layer.parameters for layer in self.layers)

    @property
    def flops(self) -> int:
        """Floating-point operations of one image's pass in training, two a multiply-add; convolutions and dense layers
        only.
        """
        return sum(layer.flops for layer in self.layers)

    @property
    def weight_bytes(self) -> int:
        """Of the network's weights as a file holds them, in float32, with the statistics of its norms; without the
        file's header.
        """
        return FLOAT32 * SCALING + sum(layer.weight_bytes for layer in self.layers)

    def training_floor(self, *, mixed: bool) -> int:
        """Bytes that a training takes at the least: weights, gradients, Adam's moments, and one map a layer for the
        backward pass.
        """
        copies = 5 if self.config.ema else 4
        maps = sum(prod(layer.output) for layer in self.layers)
        return FLOAT32 * copies * self.parameters + (2 if mixed else FLOAT32) * self.config.batch_size * maps

    def scoring_floor(self, images: int) -> int:
        """Bytes that scoring so many images at once takes at the least: what the largest convolution reads and writes,
        in float32.
        """
        maps = (prod(layer.input) + prod(layer.output) for block in self.blocks for layer in block.layers)
        return FLOAT32 * images * max(maps)
