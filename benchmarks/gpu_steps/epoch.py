"""The time of an epoch, eager and as a captured graph, and its parts.

The network of benchmarks/throughput.py with 32, 64 and 128 channels trains on all training images, augmented, in
batches of 128, then in larger batches; then the networks of the studies `sprint` and `dash`. Target: 0.15 s per epoch
of 60,000 images.
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

PLAIN: dict[str, Any] = {
    "depth": 3,
    "filters": 32,
    "growth": 2.0,
    "batch_norm": True,
    "augmentation": 0.5,
    "flip": True,
    "shift": 2.0,
}
TARGET = 0.15  # seconds per epoch
EPOCHS = 5  # of a median


def measure(work: Work) -> Iterator[dict[str, Any]]:
    """Yield the seconds of epochs, the kernels of a step, and the memory of a worker."""
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
    yield step_figures(plain, images, device)
    yield scoring(plain, splits.valid, device)
    for name, config in others(plain):
        yield {f"{name}_seconds": epoch_seconds(config, images, device, epochs=3)[0]}
        yield {f"{name}_{key}": value for key, value in step_figures(config, images, device).items()}


def others(plain: TrialConfig) -> Iterator[tuple[str, TrialConfig]]:
    """Yield further batch sizes and networks by name."""
    for batch_size in (512, 1024):
        yield f"batch_{batch_size}", plain.model_copy(update={"batch_size": batch_size})
    for study in ("sprint", "dash"):
        yield study, TrialConfig.parse(load_spec(study).space.pinned, context=study)


def epoch_seconds(
    config: TrialConfig, images: Images, device: torch.device, epochs: int = EPOCHS
) -> tuple[float, float]:
    """Return the median seconds of an epoch, and those of the first one, which includes allocation and capture."""
    training = fit(config.model_copy(update={"epochs": epochs + 1}), images, None, seed=0, device=device)
    first, *later = [epoch.seconds for epoch in training]
    return median(later), first


@contextmanager
def only_eager() -> Iterator[None]:
    """Train without captures within the block."""
    with patch("fmnist.train.EAGER_STEPS", sys.maxsize):
        yield


def memory(device: torch.device) -> dict[str, Any]:
    """Return the GiB of the device that PyTorch's tensors and CUDA itself use."""
    if not is_cuda(device):
        return {}
    free, total = cuda_memory(device)
    reserved = torch.cuda.memory_reserved(device)
    return {
        "gib_of_tensors_at_most": torch.cuda.max_memory_allocated(device) / 2**30,
        "gib_of_cuda_itself": (total - free - reserved) / 2**30,
    }


def step_figures(config: TrialConfig, images: Images, device: torch.device) -> dict[str, Any]:
    """Return the kernels of a step, their time and the gaps between them, measured over a block of steps."""
    run = _Run(config, images, 0, device)
    run.model.train()
    count = run.ahead
    rows = torch.arange(count * run.batches.size, device=device).view(count, -1)
    with run.own_stream():
        run.block(rows, SIDE).item()  # captures
        start = time.perf_counter()
        run.block(rows, SIDE).item()
        unwatched = time.perf_counter() - start
        kernels = kernels_of(lambda: run.block(rows, SIDE).item(), device)
    return {"step_us": unwatched / count * 1e6, **kernels.figures(steps=count, unwatched=unwatched)}


def scoring(config: TrialConfig, valid: Images, device: torch.device) -> dict[str, Any]:
    """Return the seconds to score the validation images."""
    pixels = torch.from_numpy(valid.pixels).to(device)
    model = _Run(config, valid.take(np.arange(256)), 0, device).model
    class_scores(model, pixels)
    seconds = []
    for _ in range(EPOCHS):
        start = time.perf_counter()
        class_scores(model, pixels)
        seconds.append(time.perf_counter() - start)
    return {"scoring_seconds": median(seconds), "scored": len(valid)}
