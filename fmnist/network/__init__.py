"""Networks: the architecture of a configuration, its cost, and its module."""

from fmnist.config import TrialConfig
from fmnist.network.architecture import Architecture
from fmnist.network.convnet import convnet
from fmnist.network.network import MEAN, STD, Network, folded

__all__ = ["MEAN", "STD", "Architecture", "Network", "build", "describe", "folded"]


def describe(config: TrialConfig, classes: int) -> Architecture:
    """Return the architecture of `config`. To add a family, add a file beside `convnet.py` and a line here."""
    return Architecture(config, tuple(convnet(config)), classes)


def build(config: TrialConfig, classes: int) -> Network:
    """Build the network of `config` with random weights."""
    return Network(describe(config, classes))
