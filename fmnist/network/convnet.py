"""ConvNet: stages of convolutions; each stage halves the image."""

from collections.abc import Iterator
from functools import partial
from math import ceil
from typing import Literal

from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from fmnist.config import Activation, TrialConfig
from fmnist.data.images import SIDE
from fmnist.grey import convolve_grey
from fmnist.network.activations import activation_module
from fmnist.network.architecture import Block, Layer, Shape


def convnet(config: TrialConfig) -> Iterator[Block]:
    """Yield the blocks. The first block of a stage changes the width and pools; the others keep the shape."""
    shape: Shape = (1, SIDE, SIDE)
    for width in config.widths:
        for index in range(config.blocks):
            layer = Layer(shape, (width, *shape[1:]), config.kernel_size, norm=config.batch_norm)
            pool = config.pool if index == 0 else None
            shape = (width, *(ceil(side / 2) for side in shape[1:])) if pool else layer.output
            yield Block(
                (layer,),
                shape,
                partial(ConvBlock, layer, activation=config.activation, pool=pool, residual=config.residual),
            )


class ConvBlock(nn.Module):
    """Convolution, norm and activation, with max pooling before or after the last two, or an optional shortcut.

    Pooling before the norm leaves a quarter of the elementwise work (KellerJordan/cifar10-airbench). It rounds sizes
    up, so that a 7x7 map keeps its border and no depth reduces a map to nothing.
    """

    def __init__(
        self, layer: Layer, *, activation: Activation, pool: Literal["before", "after"] | None, residual: bool
    ) -> None:
        super().__init__()
        channels_in, channels_out = layer.input[0], layer.output[0]
        self.conv = nn.Conv2d(channels_in, channels_out, layer.kernel_size, padding="same", bias=not layer.norm)
        if not self.conv.weight.is_meta:  # on the meta device this would import PyTorch's compiler, which takes seconds
            nn.init.kaiming_normal_(self.conv.weight, nonlinearity="relu")
        self.norm = nn.BatchNorm2d(channels_out) if layer.norm else nn.Identity()
        self.activation = activation_module(activation)
        halve = nn.MaxPool2d(2, ceil_mode=True)
        self.pool_before = halve if pool == "before" else nn.Identity()
        self.pool_after = halve if pool == "after" else nn.Identity()
        self.is_increasing = activation == "relu"
        self.shortcut = residual and pool is None and channels_in == channels_out

    def forward(self, x: Tensor) -> Tensor:
        """Shape: [N, channels_in, H, W] -> [N, channels_out, H', W'], H' = ceil(H/2) if it pools, else H."""
        on_cuda_grey = x.is_cuda and self.conv.in_channels == 1
        y: Tensor = convolve_grey(x, self.conv.weight, self.conv.bias) if on_cuda_grey else self.conv(x)
        y = self.norm(self.pool_before(y))
        # Max pooling commutes with an increasing activation, and pooling first leaves a quarter to activate.
        y = self.activation(self.pool_after(y)) if self.is_increasing else self.pool_after(self.activation(y))
        return x + y if self.shortcut else y

    def fold(self) -> None:
        """Fold the norm into the convolution, unless there is pooling between them."""
        if isinstance(self.norm, nn.BatchNorm2d) and isinstance(self.pool_before, nn.Identity):
            self.conv, self.norm = fuse_conv_bn_eval(self.conv, self.norm), nn.Identity()
