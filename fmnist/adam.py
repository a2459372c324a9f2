"""Adam and AdamW: PyTorch's fused kernel, without `torch.optim.Optimizer`.

`Optimizer.step` imports PyTorch's compiler although nothing is compiled. That costs two seconds and 150 MB in every
process that trains.
Source: Kingma and Ba 2015, arXiv 1412.6980; decoupled decay: Loshchilov and Hutter 2019, arXiv 1711.05101.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.optim.adam import adam

EPSILON = 1e-8


@dataclass(frozen=True)
class _Group:
    weights: list[Tensor]
    decay: float
    means: list[Tensor]
    squares: list[Tensor]
    steps: list[Tensor]


class FusedAdam:
    """Adam or AdamW over parameters of a network; weight decay skips biases and norms.

    On CUDA the learning rate is a tensor that a captured step reads at each replay.
    """

    def __init__(
        self,
        parameters: Iterable[Tensor],
        *,
        learning_rate: float,
        beta1: float,
        beta2: float,
        decay: float,
        decoupled: bool,
        device: torch.device,
    ) -> None:
        self.beta1, self.beta2, self.decoupled = beta1, beta2, decoupled
        self.rate: Tensor | float = (
            torch.tensor(learning_rate, device=device) if device.type == "cuda" else learning_rate
        )
        parameters = list(parameters)
        groups = [([p for p in parameters if p.ndim > 1], decay), ([p for p in parameters if p.ndim <= 1], 0.0)]
        self.groups = [_group(weights, share) for weights, share in groups if weights]

    def set_rate(self, rate: Tensor) -> None:
        """Set the learning rate of the next steps; on CUDA `rate` is on the device. Shape: []."""
        if isinstance(self.rate, Tensor):
            self.rate.copy_(rate)  # into the tensor that a captured step reads
        else:
            self.rate = rate.item()

    def zero_grad(self) -> None:
        """Delete the gradients."""
        for group in self.groups:
            for weight in group.weights:
                weight.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """Update every parameter from its gradient."""
        for group in self.groups:
            gradients = [weight.grad for weight in group.weights if weight.grad is not None]
            assert len(gradients) == len(group.weights), "every parameter takes part in every step"
            adam(
                group.weights,
                gradients,
                group.means,
                group.squares,
                [],
                group.steps,
                fused=True,
                capturable=isinstance(self.rate, Tensor),
                decoupled_weight_decay=self.decoupled,
                amsgrad=False,
                beta1=self.beta1,
                beta2=self.beta2,
                lr=self.rate,
                weight_decay=group.decay,
                eps=EPSILON,
                maximize=False,
            )

    def state(self) -> Iterator[tuple[str, Tensor]]:
        """Yield the name and the tensor of each part of the state. Copying into the tensors restores a state."""
        for index, group in enumerate(self.groups):
            for name, tensors in (("mean", group.means), ("square", group.squares), ("step", group.steps)):
                yield from ((f"{index}.{name}.{number}", tensor) for number, tensor in enumerate(tensors))


def _group(weights: list[Tensor], decay: float) -> _Group:
    # The kernel needs the moments in the memory layout of the weights.
    means, squares = (
        [torch.zeros_like(weight, memory_format=torch.preserve_format) for weight in weights] for _ in range(2)
    )
    return _Group(weights, decay, means, squares, [torch.zeros((), device=weight.device) for weight in weights])
