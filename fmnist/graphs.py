"""A training step as one CUDA graph: the dozens of launches that Python would make become one.

Source: "Accelerating PyTorch with CUDA Graphs", pytorch.org/blog, 2021.
"""

from collections.abc import Callable

import torch
from torch import Generator, Tensor


class CapturedStep:
    """Does what `step` does, from the second call on of work that ran eagerly before on the current stream, which is no default one.

    The shapes are those of `batch` for good. What Python decides within `step` is decided once, at capture; numbers that change from
    step to step, such as the learning rate, must be tensors. Random numbers go on as they would eagerly.
    """

    def __init__(self, step: Callable[[Tensor], Tensor], batch: Tensor, generator: Generator) -> None:
        self._batch = batch.clone()
        self._graph = torch.cuda.CUDAGraph()
        self._graph.register_generator_state(generator)  # type: ignore[no-untyped-call]
        with torch.cuda.graph(self._graph, stream=torch.cuda.current_stream(batch.device)):
            self._result = step(self._batch)

    def __call__(self, batch: Tensor) -> Tensor:
        """The step's result, in memory that the next call overwrites."""
        self._batch.copy_(batch)
        self._graph.replay()
        return self._result
