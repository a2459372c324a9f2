"""The latency of an exported file on this machine's CPU."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from fmnist.timing import median_ms, steady

BATCHES = (1, 256)  # images
PASSES = {1: 100, 256: 15}
LONGEST = 0.3  # seconds for each; four files with two batch sizes, twice each, take at most five on an idle machine


@dataclass(frozen=True)
class Latency:
    """Milliseconds from raw pixels to probabilities: the median of up to 100 runs of one image, and 15 of 256.

    Not steady if no two of six such medians agreed, because the machine did other work.
    """

    file: str
    single: float  # of one image
    batch: float  # of 256 images
    threads: int
    is_steady: bool

    @property
    def warning(self) -> str:
        """Return a warning for readers of the figures; empty if they are reliable."""
        return "" if self.is_steady else " (unsteady: the machine did other work)"


def latency_of(file: str, probabilities: Callable[[NDArray[np.uint8]], object], shape: tuple[int, ...]) -> Latency:
    """Measure the latency on the CPU with as many threads as PyTorch uses; `shape` is that of an image."""
    (single, single_steady), (batch, batch_steady) = (_measured(probabilities, images, shape) for images in BATCHES)
    return Latency(file, single, batch, torch.get_num_threads(), single_steady and batch_steady)


def _measured(
    probabilities: Callable[[NDArray[np.uint8]], object], images: int, shape: tuple[int, ...]
) -> tuple[float, bool]:
    pixels = np.zeros((images, *shape), np.uint8)
    return steady(lambda: median_ms(lambda: probabilities(pixels), passes=PASSES[images], seconds=LONGEST))
