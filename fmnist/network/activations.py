"""The activations of the knob `activation`."""

from typing import assert_never

from torch import nn

from fmnist.config import Activation


def activation_module(name: Activation) -> nn.Module:
    """Return the module of that name."""
    match name:
        case "relu":
            return nn.ReLU(inplace=True)  # saves a pass over the memory
        case "gelu":
            return nn.GELU()
        case "silu":
            return nn.SiLU()
        case _:
            assert_never(name)
