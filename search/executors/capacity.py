"""How many trainings side by side keep a device busy, and how much of its memory each can have."""

import torch

from fmnist.cuda import cuda_memory, is_cuda
from fmnist.device import free_memory
from search.environment import cores

ON_CUDA = 8  # more trainings side by side gain nothing (studies/LOG.md)
ON_OTHERS = 2
CUDA_ITSELF = 900 * 2**20  # bytes of a GPU's memory that CUDA takes in each process (0.82 GiB seen), before PyTorch takes any
USUAL = 2**31  # bytes that a training of a shipped study takes at most, with the images that are augmented ahead


def default_workers(device: torch.device) -> int:
    """Trainings side by side that keep the device busy: a core each; on a GPU also its memory and what more of them gain decide."""
    if is_cuda(device):
        return max(1, min(cores(), ON_CUDA, cuda_memory(device)[0] // (CUDA_ITSELF + USUAL)))
    return cores() if device.type == "cpu" else ON_OTHERS


def memory_of_each(device: torch.device, workers: int) -> int:
    """Bytes that each of so many trainings can have: of a GPU an equal part, of the machine's memory all that is free.

    Networks of a study differ in size: on a CPU two large ones side by side are rare, and swapping is better than refusing them.
    """
    free = free_memory(device)
    return max(0, free // workers - CUDA_ITSELF) if is_cuda(device) else free
