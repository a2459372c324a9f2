"""How many trainings side by side keep a device busy, what they gain together, and how much of its memory each can have."""

import torch

from fmnist.cuda import cuda_memory, is_cuda
from fmnist.device import free_memory
from search.environment import cores
from search.executors.mps import can_share

SHARING = 8  # with MPS: more trainings of networks as in `standard` gain nothing, and of small ones 17 % (studies/LOG.md, 2026-11-27)
TAKING_TURNS = 2  # without: one computes while the other one is scored, or waits for its next trial
GAIN = 1.6  # images a second of all trainings under MPS by those of one alone, networks as in `standard`; small ones reach 3.4
CUDA_ITSELF = 900 * 2**20  # bytes of a GPU's memory that CUDA takes in each process (0.82 GiB seen), before PyTorch takes any
USUAL = 2**31  # bytes that a training of a shipped study takes at most, with the images that are augmented ahead


def default_workers(device: torch.device) -> int:
    """Trainings side by side that keep the device busy: a core each; on a GPU also its memory and what more of them gain decide."""
    if is_cuda(device):
        useful = SHARING if can_share() else TAKING_TURNS
        return max(1, min(cores(), useful, cuda_memory(device)[0] // (CUDA_ITSELF + USUAL)))
    return cores() if device.type == "cpu" else TAKING_TURNS


def slowdown(device: torch.device, workers: int) -> float:
    """How many times as long a training takes beside the others as alone."""
    if not is_cuda(device) or workers <= 1:
        return 1.0
    return max(1.0, workers / GAIN) if can_share() else float(workers)


def memory_of_each(device: torch.device, workers: int) -> int:
    """Bytes that each of so many trainings can have: of a GPU an equal part, of the machine's memory all that is free.

    Networks of a study differ in size: on a CPU two large ones side by side are rare, and swapping is better than refusing them.
    """
    free = free_memory(device)
    return max(0, free // workers - CUDA_ITSELF) if is_cuda(device) else free
