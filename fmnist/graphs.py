"""Training steps whose input lies on the device, so that each takes a single launch."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

Step = Callable[[Tensor, Tensor, Tensor], Tensor]  # images, targets, learning rate -> loss


class CapturedSteps:
    """Run a captured `step` on each batch of a block, without Python between the launches.

    The batches of a block are copied to the memory that the captured step reads. The step keeps its own counter: it
    selects the next batch and learning rate, and adds up the losses. Decisions of Python within `step` are made once,
    at capture.

    Args:
        capture: Returns a function that repeats the work of its argument, like `fmnist.cuda.capture`. The identity
            works as well.
    """

    def __init__(
        self, step: Step, images: Tensor, targets: Tensor, capture: Callable[[Callable[[], None]], Callable[[], None]]
    ) -> None:
        """Shape: images [B, N, 1, S, S], targets [B, N, classes], with B batches in the largest block."""
        self._images, self._targets = torch.empty_like(images), torch.empty_like(targets)
        self._rates = torch.zeros(len(images), device=images.device)
        self._next = torch.zeros(1, dtype=torch.int64, device=images.device)
        self._total = torch.zeros((), device=images.device)
        # `step` is not stored, because that would create a reference cycle between a training and its graph.
        self._replay = capture(partial(self._next_step, step))

    def __call__(self, images: Tensor, targets: Tensor, rates: Tensor) -> Tensor:
        """Return the sum of the losses of the steps, on the device.

        Shape: images [b, N, 1, S, S], targets [b, N, classes], rates [b], b <= B.
        """
        count = len(images)
        for buffer, values in ((self._images, images), (self._targets, targets), (self._rates, rates)):
            buffer[:count].copy_(values)
        self._next.zero_()
        self._total.zero_()
        for _ in range(count):
            self._replay()
        return self._total.clone()

    def _next_step(self, step: Step) -> None:
        images, targets, rate = (
            buffer.index_select(0, self._next).squeeze(0) for buffer in (self._images, self._targets, self._rates)
        )
        self._total += step(images, targets, rate)
        self._next += 1
