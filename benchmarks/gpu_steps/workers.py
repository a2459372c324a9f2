"""The trials per hour of 1 to 16 parallel trainings on a GPU, in processes, processes under CUDA MPS, or threads.

Two networks: the middle of `quick`, which is bound by launches, and one in the middle of `standard`. A trial is 18
epochs of 50,000 images, without validation, start and search.
"""

import os
from collections.abc import Callable, Iterator
from typing import Any

import torch

from benchmarks.gpu_steps import Work
from benchmarks.gpu_steps.sharing import Processes, Threads, Together
from benchmarks.gpu_steps.sharing import Work as Shared
from fmnist.config import TrialConfig
from fmnist.cuda import cuda_memory, is_cuda
from search.executors.mps import CONNECTIONS, QUEUES, shared_gpu

COMMON: dict[str, Any] = {
    **{
        "batch_norm": True,
        "pool": "before",
        "head": "max",
        "augmentation": 0.2,
        "flip": True,
        "shift": 0.3,
        "label_smoothing": 0.05,
        "optimizer": "adamw",
    },
    **{"learning_rate": 0.01, "beta2": 0.98, "batch_size": 128, "epochs": 1000},
}
NETWORKS: dict[str, dict[str, Any]] = {
    "small": COMMON | {"depth": 4, "filters": 24, "growth": 1.4},
    "standard": COMMON | {"depth": 3, "blocks": 2, "filters": 64, "growth": 1.65, "residual": True, "batch_size": 256},
}
TRIAL = 18 * 50_000  # images
# Numbers of trainings: without MPS processes take turns, so more of them change little.
COUNTS = {"processes_mps": (1, 2, 4, 8, 16), "threads": (1, 8, 16), "processes": (1, 2, 8)}
SECONDS = 1.0  # per measurement
QUEUES_ALONE = {CONNECTIONS: QUEUES}


def measure(work: Work) -> Iterator[dict[str, Any]]:
    """Yield the trials per hour by network, way of sharing and number of trainings."""
    os.environ[CONNECTIONS] = "32"  # for the threads of this process, which have a stream each
    most, configs = (
        (512, [_tiny(config) for config in NETWORKS.values()]) if work.tiny else (60_000, list(NETWORKS.values()))
    )
    shared = Shared(work.data, work.device, configs, most, 0)
    with shared_gpu(torch.device(work.device), max(COUNTS["processes_mps"])) as sharing:
        yield {"mps": sharing.note or sharing.by_mps}
        if sharing.by_mps:
            yield from _measured("processes_mps", lambda most: Processes(shared, most, sharing.environ), work)
    yield from _measured("threads", lambda most: Threads(shared, most), work)
    yield from _measured("processes", lambda most: Processes(shared, most, QUEUES_ALONE), work)


def _measured(way: str, begin: Callable[[int], Together], work: Work) -> Iterator[dict[str, Any]]:
    counts, seconds = ((1, 2), 0.1) if work.tiny else (COUNTS[way], SECONDS)
    try:
        together = begin(counts[-1])
    except (TimeoutError, EOFError, ConnectionError, RuntimeError) as error:
        yield {way: f"{type(error).__name__}: {error}"}  # the other ways are still measured
        return
    try:
        if is_cuda(device := torch.device(work.device)):
            free, total = cuda_memory(device)
            yield {f"{way}_gib": (total - free) / 2**30}
        for index, network in enumerate(NETWORKS):
            for count in counts:
                speed = together.images_per_second(index, count, seconds)
                yield {f"{network}_{way}_{count}": speed / TRIAL * 3600}
    finally:
        together.end()


def _tiny(config: dict[str, Any]) -> dict[str, Any]:
    return TrialConfig(**{**config, "depth": 1, "blocks": 1, "filters": 4, "batch_size": 64}).model_dump()
