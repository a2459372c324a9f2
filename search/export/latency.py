"""How long an exported file takes to answer, on the processor at hand."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from fmnist.data.images import SIDE
from fmnist.timing import median_ms, steady

BATCHES = (1, 256)  # images
PASSES = {1: 100, 256: 15}
LONGEST = 0.3  # seconds for each; four files of two sizes, twice each, take five at most on a steady machine


@dataclass(frozen=True)
class Latency:
    """Milliseconds from raw pixels to probabilities: the median of up to a hundred runs of one image, and fifteen of
    256.

    Not steady where no two of six such medians agreed, because the machine did other work.
    """

    file: str
    one: float
    many: float
    threads: int
    is_steady: bool

    @property
    def warning(self) -> str:
        """For a person who reads the figures; empty where they can be relied on."""
        return "" if self.is_steady else " (unsteady: the machine did other work)"


def latency_of(file: str, probabilities: Callable[[NDArray[np.uint8]], object]) -> Latency:
    """What it takes on the CPU with as many threads as PyTorch uses."""
    (one, is_steady), (many, are_steady) = (_measured(probabilities, images) for images in BATCHES)
    return Latency(file, one, many, torch.get_num_threads(), is_steady and are_steady)


def _measured(probabilities: Callable[[NDArray[np.uint8]], object], images: int) -> tuple[float, bool]:
    pixels = np.zeros((images, SIDE, SIDE), np.uint8)
    return steady(lambda: median_ms(lambda: probabilities(pixels), passes=PASSES[images], seconds=LONGEST))
