"""Squeeze-and-excitation: each channel is weighed by what all maps of the image hold on average.

Source: Hu, Shen and Sun 2018, arXiv 1709.01507.
"""

from torch import Tensor, nn
from torch.nn.functional import relu

from fmnist.network.architecture import Layer

REDUCTION = 4  # channels for one unit of the layer between
FEWEST = 4  # of these units


def squeeze_layers(channels: int) -> tuple[Layer, Layer]:
    """Return the two dense layers."""
    units = max(FEWEST, channels // REDUCTION)
    return Layer((channels,), (units,)), Layer((units,), (channels,))


class Squeeze(nn.Module):
    """The module of the two layers."""

    def __init__(self, down: Layer, up: Layer) -> None:
        super().__init__()
        self.down, self.up = (nn.Linear(layer.input[0], layer.output[0]) for layer in (down, up))

    def forward(self, x: Tensor) -> Tensor:
        """Shape: [N, channels, H, W] -> the same."""
        weights: Tensor = self.up(relu(self.down(x.mean(dim=(2, 3))))).sigmoid()
        return x * weights[:, :, None, None]
