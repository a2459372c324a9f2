"""How long an epoch takes, step by step from Python and as a captured graph, and where its time goes.

The network of 32, 64 and 128 channels of benchmarks/throughput.py trains on all training images, augmented, in batches
of 128; then in larger batches, and the network of the study `sprint`. Target: 0.15 s an epoch of 60,000 images.
"""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median
from typing import Any
from unittest.mock import patch

import numpy as np
import torch

from benchmarks.gpu_steps import Work
from benchmarks.gpu_steps.kernels import kernels_of
from fmnist.config import TrialConfig
from fmnist.cuda import cuda_memory, is_cuda
from fmnist.data.images import SIDE, Images
from fmnist.data.sources import find_source
from fmnist.data.splits import SPLIT_SEED, full_split, search_splits
from fmnist.scoring import class_scores
from fmnist.train import _Run, fit
from search.study.spec import load_spec

PLAIN: dict[str, Any] = {"depth": 3, "filters": 32, "growth": 2.0, "batch_norm": True, "augmentation": 0.5}
TARGET = 0.15  # seconds an epoch
EPOCHS = 5  # that a median is taken of


def measure(work: Work) -> Iterator[dict[str, Any]]:
    """Seconds of epochs, the kernels of a step, and the memory of a worker."""
    device, source = torch.device(work.device), find_source(work.data, announce=print)
    images, splits = full_split(source), search_splits(source, seed=SPLIT_SEED)
    if work.tiny:
        images = images.take(np.arange(512))
    plain = TrialConfig(**PLAIN)
    captured, first = epoch_seconds(plain, images, device)
    yield {"seconds": captured, "first_seconds": first, "images": len(images), "target": TARGET}
    with only_eager():
        eager, _ = epoch_seconds(plain, images, device, epochs=1)
    yield {"eager_seconds": eager, "capture_ratio": eager / captured}
    yield memory(device)
    yield where(plain, images, device)
    yield scoring(plain, splits.valid, device)
    for name, config in others(plain):
        yield {f"{name}_seconds": epoch_seconds(config, images, device, epochs=3)[0]}
        yield {f"{name}_{key}": value for key, value in where(config, images, device).items()}


def others(plain: TrialConfig) -> Iterator[tuple[str, TrialConfig]]:
    """More networks and batches, by name."""
    for batch_size in (512, 1024):
        yield f"batch_{batch_size}", plain.model_copy(update={"batch_size": batch_size})
    for study in ("sprint", "dash"):
        yield study, TrialConfig.parse(load_spec(study).space.pinned, where=study)


def epoch_seconds(
    config: TrialConfig, images: Images, device: torch.device, epochs: int = EPOCHS
) -> tuple[float, float]:
    """Seconds of an epoch, the median of some, and of the first one, which allocates, chooses kernels and captures."""
    training = fit(config.model_copy(update={"epochs": epochs + 1}), images, None, seed=0, device=device)
    first, *later = [epoch.seconds for epoch in training]
    return median(later), first


@contextmanager
def only_eager() -> Iterator[None]:
    """Within, no training is captured."""
    with patch("fmnist.train.EAGER_STEPS", sys.maxsize):
        yield


def memory(device: torch.device) -> dict[str, Any]:
    """GiB of the device that this process has: PyTorch's, and all of it with what CUDA itself takes."""
    if not is_cuda(device):
        return {}
    free, total = cuda_memory(device)
    kept = torch.cuda.memory_reserved(device)
    return {
        "gib_of_tensors_at_most": torch.cuda.max_memory_allocated(device) / 2**30,
        "gib_of_cuda_itself": (total - free - kept) / 2**30,
    }


def where(config: TrialConfig, images: Images, device: torch.device) -> dict[str, Any]:
    """What the device does in a block of steps, from the first to the last: kernels, their time, and the gaps between
    them.
    """
    run = _Run(config, images, 0, device)
    run.model.train()
    count = run.ahead
    rows = torch.arange(count * run.batch_size, device=device).view(count, -1)
    with run.own_stream():
        run.block(rows, SIDE).item()  # captures
        start = time.perf_counter()
        run.block(rows, SIDE).item()
        unwatched = time.perf_counter() - start
        found = kernels_of(lambda: run.block(rows, SIDE).item(), device)
    return {"step_us": unwatched / count * 1e6, **found.figures(steps=count, unwatched=unwatched)}


def scoring(config: TrialConfig, valid: Images, device: torch.device) -> dict[str, Any]:
    """Seconds that the validation images take to be scored, once an epoch."""
    pixels = torch.from_numpy(valid.pixels).to(device)
    model = _Run(config, valid.take(np.arange(256)), 0, device).model
    class_scores(model, pixels)
    seconds = []
    for _ in range(EPOCHS):
        start = time.perf_counter()
        class_scores(model, pixels)
        seconds.append(time.perf_counter() - start)
    return {"scoring_seconds": median(seconds), "scored": len(valid)}
