"""How many parallel trainings keep a device busy, their joint throughput, and the memory available to each."""

from collections.abc import Sequence

import torch

from fmnist.config import TrialConfig
from fmnist.cuda import cuda_memory, is_cuda
from fmnist.device import free_memory
from fmnist.machine import cores
from fmnist.network import describe
from fmnist.scoring import BATCH
from fmnist.train import AHEAD
from search.executors.mps import can_share

# With MPS: more workers gain nothing for networks as in `standard`, and 17 % for small ones (studies/LOG.md,
# 2026-11-27).
SHARING = 8
TAKING_TURNS = 2  # without MPS: one computes while the other is scored or waits for its next trial
# Throughput of all parallel trainings relative to a single one, for networks as in `standard` (studies/LOG.md,
# 2026-11-27).
GAIN = 1.6  # maximum under MPS; small networks reach 3.4
GAIN_OF_EACH = 0.38  # under MPS, added by each training after the first, up to GAIN
TURNS = 0.92  # when they take turns
# Bytes of GPU memory that CUDA takes in each process (0.82 GiB measured), before PyTorch allocates any.
CUDA_ITSELF = 900 * 2**20
FLOAT32 = 4  # bytes
COORDINATES = 4  # numbers that augmentation holds for each pixel it prepares, besides input and output
USUAL = 2**31  # bytes, the maximum for a training of a shipped study, including the images augmented ahead


def default_workers(device: torch.device) -> int:
    """Return how many parallel trainings keep the device busy: one per core, on a GPU limited also by its memory."""
    if is_cuda(device):
        useful = SHARING if can_share() else TAKING_TURNS
        return max(1, min(cores(), useful, cuda_memory(device)[0] // (CUDA_ITSELF + USUAL)))
    return cores() if device.type == "cpu" else TAKING_TURNS


def threads_of_each(count: int, workers: int, threads: int) -> list[int | None]:
    """Return the CPU threads of each of so many trainings, for workers that have `threads` each.

    If they are fewer than the workers, they divide the cores evenly. None: those of a worker.
    """
    shared = min(threads * workers, cores()) // count if 0 < count < workers else threads
    return [shared if shared > threads else None] * count


def turns_of_each(count: int, workers: int) -> list[float]:
    """Return the share of each of so many trainings of one length after which it pauses and goes on last; 1 if it does
    not pause.

    So all workers are busy to the end: of three trainings on two workers, one pauses in its middle, and each worker
    trains one and a half. Source: McNaughton, "Scheduling with Deadlines and Loss Functions", 1959.
    """
    turns = [1.0] * count
    for worker in range(1, workers if count > workers else 1):
        index, rest = divmod(worker * count, workers)
        if rest:  # this training is the last of a worker, and with its beginning the first of the next one
            turns[index] = 1 - rest / workers
    return turns


def slowdown(device: torch.device, workers: int) -> float:
    """Return the duration of a training among so many parallel ones, relative to running alone."""
    if not is_cuda(device) or workers <= 1:
        return 1.0
    return workers / (min(GAIN, 1 + GAIN_OF_EACH * (workers - 1)) if can_share() else TURNS)


def memory_of_each(device: torch.device, workers: int) -> int:
    """Return the bytes available to each of so many trainings: an equal share of a GPU, or all free RAM on a CPU.

    On a CPU two large networks rarely train at the same time, and swapping is better than refusing them.
    """
    free = free_memory(device)
    return max(0, free // workers - CUDA_ITSELF) if is_cuda(device) else free


def least_memory(
    config: TrialConfig,
    classes: int,
    images: int,
    device: torch.device,
    *,
    mixed: bool,
    teachers: Sequence[TrialConfig] = (),
) -> int:
    """Return the minimum bytes of device memory that a training on so many images takes, scoring included.

    `teachers` are those that a student learns from.
    """
    network = describe(config, classes)
    taught_by = [describe(teacher, classes) for teacher in teachers]
    step = network.training_floor(mixed=mixed) + sum(teacher.weight_bytes for teacher in taught_by)
    if device.type == "cpu":  # prepares one batch at a time, and scores in small batches
        return step
    # Teachers see a training batch at a time.
    teaching = [teacher.scoring_floor(config.batch_size) for teacher in taught_by]
    scoring = max([network.scoring_floor(BATCH), *teaching])
    if not is_cuda(device):
        return max(step, scoring)
    # A captured step keeps its memory and a copy of its input images.
    count = min(images, max(config.batch_size, AHEAD // config.batch_size * config.batch_size))
    pixels = FLOAT32 * config.side**2 * count
    ahead = config.channels * pixels
    augmenting = 2 * ahead + COORDINATES * pixels if config.augmentation or config.shift else ahead
    return step + ahead + max(augmenting, scoring)
