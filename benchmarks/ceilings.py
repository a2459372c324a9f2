"""The ceilings of the machine: the rates of a large matrix product and of a large copy."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from fmnist.device import torch_threads
from fmnist.precision import is_mixed

SIDE = 2048  # of the square matrices
COPIED = 256 * 2**20  # bytes, far more than any cache
ROUNDS = 5


@dataclass(frozen=True)
class Ceilings:
    """The best of several rounds."""

    threads: int
    product: float  # floating-point operations per second, in the precision of the training
    copy: float  # bytes per second, reads and writes


def measure_ceilings(threads: int) -> Ceilings:
    """Measure the ceilings with that number of threads, in about a second."""
    left, right = torch.rand(2, SIDE, SIDE).to(torch.bfloat16 if is_mixed(torch.device("cpu")) else torch.float32)
    source = torch.zeros(COPIED // 4)
    target = torch.empty_like(source)
    with torch_threads(threads):
        product = 2 * SIDE**3 / _quickest(lambda: left @ right)
        copy = 2 * COPIED / _quickest(lambda: target.copy_(source))
    return Ceilings(threads, product, copy)


def _quickest(work: Callable[[], object]) -> float:
    seconds = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return min(seconds)
