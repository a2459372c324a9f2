"""The optimizers of the knob `optimizer`."""

from collections.abc import Iterator
from typing import Protocol

import torch
from torch import Tensor, nn

from fmnist.adam import FusedAdam
from fmnist.config import TrialConfig
from fmnist.muon import Muon

BETA1 = 0.9  # of Adam


class Optimizer(Protocol):
    """What a training needs of its optimizer."""

    def set_rate(self, rate: Tensor) -> None:
        """Set the learning rate of the next steps. Shape: []."""
        ...

    def zero_grad(self) -> None:
        """Delete the gradients."""
        ...

    def step(self) -> None:
        """Update every parameter from its gradient."""
        ...

    def state(self) -> Iterator[tuple[str, Tensor]]:
        """Yield the name and the tensor of each part of the state. Copying into the tensors restores a state."""
        ...


def make_optimizer(config: TrialConfig, model: nn.Module, device: torch.device) -> Optimizer:
    """Return the optimizer of the configuration over all parameters of `model`."""
    parameters = list(model.parameters())
    orthogonal = [p for p in parameters if p.ndim == 4 and p.shape[1] > 1] if config.optimizer == "muon" else []
    rest = [p for p in parameters if not any(p is other for other in orthogonal)]
    adam = FusedAdam(
        rest,
        learning_rate=config.learning_rate,
        beta1=BETA1,
        beta2=config.beta2,
        decay=config.l2,
        decoupled=config.optimizer != "adam",
        device=device,
    )
    return Muon(orthogonal, adam, decay=config.l2) if orthogonal else adam
