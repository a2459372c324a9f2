"""How many trainings side by side keep a device busy, what they gain together, and how much of its memory each can
have.
"""

import torch

from fmnist.config import TrialConfig
from fmnist.cuda import cuda_memory, is_cuda
from fmnist.data.images import SIDE
from fmnist.device import free_memory
from fmnist.machine import cores
from fmnist.network import describe
from fmnist.scoring import BATCH
from fmnist.train import AHEAD, is_mixed
from search.executors.mps import can_share

# with MPS: more trainings of networks as in `standard` gain nothing, and of small ones 17 % (studies/LOG.md,
# 2026-11-27)
SHARING = 8
TAKING_TURNS = 2  # without: one computes while the other one is scored, or waits for its next trial
# Images a second of all trainings side by side by those of one alone, networks as in `standard` (studies/LOG.md,
# 2026-11-27).
GAIN = 1.6  # under MPS at most; small networks reach 3.4
GAIN_OF_EACH = 0.38  # under MPS of each beside the first, until that is reached
TURNS = 0.92  # where they take turns
CUDA_ITSELF = (
    900 * 2**20
)  # bytes of a GPU's memory that CUDA takes in each process (0.82 GiB seen), before PyTorch takes any
FLOAT32 = 4  # bytes
# Images in float32 that augmentation has at once for each that it makes ready: what it was, where its pixels come from
# (four), what it is.
AUGMENTING = 6
USUAL = 2**31  # bytes that a training of a shipped study takes at most, with the images that are augmented ahead


def default_workers(device: torch.device) -> int:
    """Trainings side by side that keep the device busy: a core each; on a GPU also its memory and what more of them
    gain decide.
    """
    if is_cuda(device):
        useful = SHARING if can_share() else TAKING_TURNS
        return max(1, min(cores(), useful, cuda_memory(device)[0] // (CUDA_ITSELF + USUAL)))
    return cores() if device.type == "cpu" else TAKING_TURNS


def slowdown(device: torch.device, workers: int) -> float:
    """How many times as long a training takes beside the others as alone."""
    if not is_cuda(device) or workers <= 1:
        return 1.0
    return workers / (min(GAIN, 1 + GAIN_OF_EACH * (workers - 1)) if can_share() else TURNS)


def memory_of_each(device: torch.device, workers: int) -> int:
    """Bytes that each of so many trainings can have: of a GPU an equal part, of the machine's memory all that is free.

    Networks of a study differ in size: on a CPU two large ones side by side are rare, and swapping is better than
    refusing them.
    """
    free = free_memory(device)
    return max(0, free // workers - CUDA_ITSELF) if is_cuda(device) else free


def least_memory(config: TrialConfig, classes: int, images: int, device: torch.device) -> int:
    """Bytes of the device that a training on so many images takes at the least, with what it makes ready ahead and the
    scoring between.
    """
    network = describe(config, classes)
    step = network.training_floor(mixed=is_mixed(device))
    if device.type == "cpu":  # a batch at a time, and scored in small ones
        return step
    scored = network.scoring_floor(BATCH)
    if not is_cuda(device):
        return max(step, scored)
    # A captured step keeps its memory, and a copy of the images that it reads.
    ahead = FLOAT32 * SIDE**2 * min(images, max(config.batch_size, AHEAD // config.batch_size * config.batch_size))
    return step + ahead + max(ahead * (AUGMENTING if config.augmentation else 1), scored)
