"""Networks: what a configuration describes, what that costs, and the module that it builds."""

from fmnist.config import TrialConfig
from fmnist.network.architecture import Architecture
from fmnist.network.convnet import convnet
from fmnist.network.network import MEAN, STD, Network, folded

__all__ = ["MEAN", "STD", "Architecture", "Network", "build", "describe", "folded"]


def describe(config: TrialConfig, classes: int) -> Architecture:
    """The network of `config` for `classes` classes, not built. Another family is a file beside `convnet.py`, and a
    line here.
    """
    return Architecture(config, tuple(convnet(config)), classes)


def build(config: TrialConfig, classes: int) -> Network:
    """The network of `config` for `classes` classes, its weights drawn at random."""
    return Network(describe(config, classes))
