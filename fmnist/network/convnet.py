"""ConvNet: stages of convolutions; each stage halves the image."""

from collections.abc import Iterator
from functools import partial
from math import ceil, gcd
from typing import assert_never

from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from fmnist.config import Activation, Pool, TrialConfig
from fmnist.grey import convolve_grey
from fmnist.network.activations import activation_module
from fmnist.network.architecture import Block, Layer, Shape
from fmnist.network.squeeze import Squeeze, squeeze_layers

GROUP = 16  # channels in a group, at least: in bfloat16 smaller ones are slow
EXPANSION = 3  # width of an inverted residual, as a multiple of its input's


def convnet(config: TrialConfig) -> Iterator[Block]:
    """Yield the blocks. The first block of a stage changes the width and pools; the others keep the shape."""
    shape: Shape = (config.channels, config.side, config.side)
    for width in config.widths:
        for index in range(config.blocks):
            pool = config.pool if index == 0 else None
            layers = tuple(_convolutions(config, shape, width, stride=2 if pool == "stride" else 1))
            shape = layers[-1].output
            if pool in ("before", "after"):
                shape = (width, *(ceil(side / 2) for side in shape[1:]))
            squeeze = squeeze_layers(width) if config.squeeze else ()
            yield Block((*layers, *squeeze), shape, partial(ConvBlock, layers, squeeze, config, pool))


def _convolutions(config: TrialConfig, shape: Shape, width: int, *, stride: int) -> Iterator[Layer]:
    """Yield the convolutions of one block. The one of the image itself is always full.

    Source: depthwise-separable, Howard et al. 2017, arXiv 1704.04861; inverted residuals, Sandler et al. 2018, arXiv
    1801.04381.
    """
    channels, sides = shape[0], shape[1:]
    halved = tuple(ceil(side / stride) for side in sides)
    size, norm, output = config.kernel_size, config.batch_norm, (width, *halved)
    match config.conv if channels > config.channels else "full":
        case "full":
            yield Layer(shape, output, size, norm)
        case "grouped":
            yield Layer(shape, output, size, norm, _groups(channels, width))
        case "separable":
            yield Layer(shape, (channels, *halved), size, groups=channels)
            yield Layer((channels, *halved), output, norm=norm)
        case "inverted":
            wide = EXPANSION * channels
            yield Layer(shape, (wide, *sides), norm=norm)
            yield Layer((wide, *sides), (wide, *halved), size, norm, groups=wide)
            yield Layer((wide, *halved), output, norm=norm)
        case _:
            assert_never(config.conv)


def _groups(channels_in: int, channels_out: int) -> int:
    """Return the largest number of groups that divides both and leaves GROUP channels or more in each."""
    common = gcd(channels_in, channels_out)
    return max((n for n in range(1, common + 1) if common % n == 0 and common // n >= GROUP), default=1)


class ConvBlock(nn.Module):
    """Convolutions, norm and activation, with max pooling before or after the last two, or an optional shortcut.

    Pooling before the norm leaves a quarter of the elementwise work (KellerJordan/cifar10-airbench). It rounds sizes
    up, so that a 7x7 map keeps its border and no depth reduces a map to nothing.
    """

    def __init__(
        self, layers: tuple[Layer, ...], squeeze: tuple[Layer, ...], config: TrialConfig, pool: Pool | None
    ) -> None:
        super().__init__()
        *first, last = layers
        is_inverted = len(layers) == 3
        # Of inverted residuals: each convolution but the last one is activated.
        activation = config.activation if is_inverted else None
        self.first = nn.Sequential(*(_Convolution(layer, config, activation) for layer in first))
        self.conv = _convolution(last, config)
        self.norm = nn.BatchNorm2d(last.output[0]) if last.norm else nn.Identity()
        self.activation = nn.Identity() if is_inverted else activation_module(config.activation)
        halve = nn.MaxPool2d(2, ceil_mode=True)
        self.pool_before = halve if pool == "before" else nn.Identity()
        self.pool_after = halve if pool == "after" else nn.Identity()
        self.is_increasing = is_inverted or config.activation == "relu"
        self.squeeze = Squeeze(*squeeze) if squeeze else nn.Identity()
        self.shortcut = config.residual and pool is None and layers[0].input == last.output

    def forward(self, x: Tensor) -> Tensor:
        """Shape: [N, channels_in, H, W] -> [N, channels_out, H', W'], H' = ceil(H/2) if it pools, else H."""
        on_cuda_grey = x.is_cuda and self.conv.in_channels == 1 and self.conv.stride == (1, 1)
        y: Tensor = self.first(x)
        y = convolve_grey(y, self.conv.weight, self.conv.bias) if on_cuda_grey else self.conv(y)
        y = self.norm(self.pool_before(y))
        # Max pooling commutes with an increasing activation, and pooling first leaves a quarter to activate.
        y = self.activation(self.pool_after(y)) if self.is_increasing else self.pool_after(self.activation(y))
        y = self.squeeze(y)
        return x + y if self.shortcut else y

    def fold(self) -> None:
        """Fold the norms into the convolutions, unless there is pooling between them."""
        for part in (*self.first, self):
            is_pooled_between = part is self and not isinstance(self.pool_before, nn.Identity)
            if isinstance(part.norm, nn.BatchNorm2d) and not is_pooled_between:
                part.conv, part.norm = fuse_conv_bn_eval(part.conv, part.norm), nn.Identity()


class _Convolution(nn.Module):
    """A convolution before the last one of its block."""

    def __init__(self, layer: Layer, config: TrialConfig, activation: Activation | None) -> None:
        super().__init__()
        self.conv = _convolution(layer, config)
        self.norm = nn.BatchNorm2d(layer.output[0]) if layer.norm else nn.Identity()
        self.activation = activation_module(activation) if activation else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.activation(self.norm(self.conv(x)))
        return y


def _convolution(layer: Layer, config: TrialConfig) -> nn.Conv2d:
    channels_in, channels_out, size = layer.input[0], layer.output[0], layer.kernel_size
    stride = 1 if layer.input[1:] == layer.output[1:] else 2
    conv = nn.Conv2d(
        channels_in, channels_out, size, stride, padding=size // 2, groups=layer.groups, bias=not layer.norm
    )
    if conv.weight.is_meta:  # on the meta device this would import PyTorch's compiler, which takes seconds
        return conv
    nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
    if config.init == "dirac" and channels_in > config.channels and layer.groups == 1:
        # As many channels as there are inputs pass them on; the others are random (KellerJordan/cifar10-airbench).
        nn.init.dirac_(conv.weight.data[:channels_in])
    return conv
