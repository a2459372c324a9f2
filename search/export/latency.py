"""How long an exported file takes to answer, on the processor at hand."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from fmnist.data.images import SIDE
from fmnist.timing import median_ms

BATCHES = (1, 256)  # images
PASSES = {1: 100, 256: 15}
LONGEST = 0.6  # seconds for each; four files and two sizes take five at most


@dataclass(frozen=True)
class Latency:
    """Milliseconds from raw pixels to probabilities: the median of up to a hundred runs of one image, and fifteen of 256."""

    file: str
    one: float
    many: float
    threads: int


def latency_of(file: str, probabilities: Callable[[NDArray[np.uint8]], object]) -> Latency:
    """What it takes on the CPU with as many threads as PyTorch uses."""
    taken = []
    for images in BATCHES:
        pixels = np.zeros((images, SIDE, SIDE), np.uint8)
        taken.append(median_ms(lambda pixels=pixels: probabilities(pixels), passes=PASSES[images], seconds=LONGEST))  # type: ignore[misc]
    return Latency(file, taken[0], taken[1], torch.get_num_threads())
