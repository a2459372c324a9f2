"""Muon: momentum whose update is made orthogonal, for the weights of convolutions; AdamW takes the rest.

Source: Jordan 2024, https://kellerjordan.github.io/posts/muon; the scale, with which a learning rate and a decay chosen
for AdamW hold, is of Liu et al. 2025, arXiv 2502.16982.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from fmnist.adam import FusedAdam

MOMENTUM = 0.95
ITERATIONS = 5
COEFFICIENTS = 3.4445, -4.7750, 2.0315  # of the Newton-Schulz iteration
ADAM_SIZE = 0.2  # root mean square of AdamW's updates


class Muon:
    """Muon over `weights`, convolutions as matrices of a row per output channel, and `adam` over the other ones."""

    def __init__(self, weights: Sequence[Tensor], adam: FusedAdam, *, decay: float) -> None:
        self.weights, self.adam, self.decay = weights, adam, decay
        self.momenta = [torch.zeros_like(weight, memory_format=torch.preserve_format) for weight in weights]

    def set_rate(self, rate: Tensor) -> None:
        """Set the learning rate of the next steps; on CUDA `rate` is on the device. Shape: []."""
        self.adam.set_rate(rate)

    def zero_grad(self) -> None:
        """Delete the gradients."""
        self.adam.zero_grad()
        for weight in self.weights:
            weight.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """Update every parameter from its gradient."""
        self.adam.step()
        rate = self.adam.rate
        for weight, momentum in zip(self.weights, self.momenta, strict=True):
            assert weight.grad is not None, "every parameter takes part in every step"
            momentum.lerp_(weight.grad, 1 - MOMENTUM)
            update = orthogonal(weight.grad.lerp(momentum, MOMENTUM).flatten(1))  # Nesterov's momentum
            scale = ADAM_SIZE * max(update.shape) ** 0.5
            weight.sub_(rate * (scale * update.view_as(weight) + self.decay * weight))

    def state(self) -> Iterator[tuple[str, Tensor]]:
        """Yield the name and the tensor of each part of the state. Copying into the tensors restores a state."""
        yield from self.adam.state()
        yield from ((f"muon.{number}", momentum) for number, momentum in enumerate(self.momenta))


def orthogonal(matrix: Tensor) -> Tensor:
    """Return the matrix with singular values near 1, by Newton and Schulz's iteration. Shape: [M, N] -> [M, N]."""
    is_tall = matrix.shape[0] > matrix.shape[1]
    x: Tensor = matrix.T if is_tall else matrix
    x = x / (x.norm() + 1e-7)
    a, b, c = COEFFICIENTS
    for _ in range(ITERATIONS):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if is_tall else x
