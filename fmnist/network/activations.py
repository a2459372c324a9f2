"""Activations by the names that the knob has for them."""

from typing import assert_never

from torch import nn

from fmnist.config import Activation


def activation_module(name: Activation) -> nn.Module:
    """The module of that name."""
    match name:
        case "relu":
            return nn.ReLU(inplace=True)  # a pass over memory less
        case "gelu":
            return nn.GELU()
        case "silu":
            return nn.SiLU()
        case _:
            assert_never(name)
