"""A network before it is built: layers with their shapes."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from math import prod

from torch import nn

from fmnist.config import TrialConfig

Shape = tuple[int, ...]  # of one image on its way through the network: [channels, height, width], or [features]


@dataclass(frozen=True)
class Layer:
    """A convolution, or a dense layer where the shapes are of vectors. It has a norm where `norm` says so, else a bias."""

    input: Shape
    output: Shape
    kernel_size: int = 1
    norm: bool = False


@dataclass(frozen=True)
class Block:
    """Layers whose module is built by `module`, and the shape of what that gives, which pooling makes smaller than a layer's."""

    layers: tuple[Layer, ...]
    output: Shape
    module: Callable[[], nn.Module]


@dataclass(frozen=True)
class Architecture:
    """Blocks, of which every family has its own; a head that makes one vector of the last one's maps; dense layers."""

    config: TrialConfig
    blocks: tuple[Block, ...]
    classes: int

    @property
    def maps(self) -> Shape:
        """What the head reads."""
        return self.blocks[-1].output

    @property
    def dense(self) -> tuple[Layer, ...]:
        """From the head's vector to the class scores."""
        features = prod(self.maps) if self.config.head == "flatten" else self.maps[0]
        sizes = (features, self.config.hidden, self.classes) if self.config.hidden else (features, self.classes)
        return tuple(Layer((before,), (after,)) for before, after in pairwise(sizes))
