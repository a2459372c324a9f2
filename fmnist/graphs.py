"""Training steps on a device that is faster than Python: what a step reads lies on the device, and one launch does
it.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

Step = Callable[[Tensor, Tensor, Tensor], Tensor]  # images, targets, learning rate -> loss


class CapturedSteps:
    """Does what `step` does, batch after batch of a block, without any work of Python in between.

    The batches of a block are copied to where the captured step reads them. The step counts for itself: it takes the
    next batch and learning rate, and adds up the losses. What Python decides within `step` is decided once, at capture.

    Args:
        capture: Makes of a function one that repeats its work, as `fmnist.cuda.capture` does; the function itself
            works as well.
    """

    def __init__(
        self, step: Step, images: Tensor, targets: Tensor, capture: Callable[[Callable[[], None]], Callable[[], None]]
    ) -> None:
        """Shape: images [B, N, 1, S, S], targets [B, N, classes], of the largest block of B batches."""
        self._images, self._targets = torch.empty_like(images), torch.empty_like(targets)
        self._rates = torch.zeros(len(images), device=images.device)
        self._next = torch.zeros(1, dtype=torch.int64, device=images.device)
        self._total = torch.zeros((), device=images.device)
        # What is captured needs `step` no more, and keeping it would tie a training and its graph in a circle of
        # references.
        self._replay = capture(partial(self._one, step))

    def __call__(self, images: Tensor, targets: Tensor, rates: Tensor) -> Tensor:
        """The sum of the steps' losses, on the device. Shape: images [b, N, 1, S, S], targets [b, N, classes], rates
        [b], b <= B.
        """
        count = len(images)
        for kept, given in ((self._images, images), (self._targets, targets), (self._rates, rates)):
            kept[:count].copy_(given)
        self._next.zero_()
        self._total.zero_()
        for _ in range(count):
            self._replay()
        return self._total.clone()

    def _one(self, step: Step) -> None:
        images, targets, rate = (
            each.index_select(0, self._next).squeeze(0) for each in (self._images, self._targets, self._rates)
        )
        self._total += step(images, targets, rate)
        self._next += 1
