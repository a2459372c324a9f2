"""What the machine can do at best, measured in seconds: a large matrix product and a large copy."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from fmnist.device import torch_threads
from fmnist.train import is_mixed

SIDE = 2048  # of the square matrices
COPIED = 256 * 2**20  # bytes, far more than any cache
ROUNDS = 5


@dataclass(frozen=True)
class Ceilings:
    """The best of a few rounds."""

    threads: int
    product: float  # floating-point operations a second, in the precision that training multiplies in here
    copy: float  # bytes a second, those read and those written


def measure_ceilings(threads: int) -> Ceilings:
    """What so many threads reach here, in about a second."""
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
