"""From images to class probabilities."""

import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import torch
from numpy.typing import NDArray

from fmnist.checkpoint import Checkpoint
from fmnist.data.images import SIDE
from fmnist.data.pictures import read_picture, resized_picture
from fmnist.errors import FmnistError
from fmnist.model import ConvNet, folded
from fmnist.train import as_input, class_scores

RESIZED = "resized"  # in a checkpoint's origin, under "pictures": its training images were pictures of other sizes, brought to 28 x 28


def picture_reader(checkpoint: Checkpoint) -> Callable[[Path], NDArray[np.uint8]]:
    """What reads a picture the way the network's training images were made: resized as they were, else as Fashion-MNIST's were."""
    return resized_picture if checkpoint.origin.get("pictures") == RESIZED else read_picture


def predict(checkpoint: Checkpoint, pixels: NDArray[np.uint8], device: torch.device) -> NDArray[np.float32]:
    """The probability of each class for each image; the checkpoint's network is on `device` then.

    Shape: uint8 [N, 28, 28] -> [N, classes], rows sum to 1.
    """
    if pixels.dtype != np.uint8 or pixels.shape[1:] != (SIDE, SIDE):
        raise FmnistError(f"Images must be uint8 [N, 28, 28], got {pixels.dtype} {list(pixels.shape)}. `read_picture` makes one of a file.")
    writable = np.require(pixels, requirements=["C", "W"])  # PyTorch warns of arrays it could not write to
    logits = class_scores(checkpoint.model.to(device), writable, device)
    probabilities: NDArray[np.float32] = logits.softmax(dim=1).numpy()
    return probabilities


def latency_ms(model: ConvNet, device: torch.device, *, images: int = 1, passes: int = 30) -> float:
    """Milliseconds from raw pixels to class scores on the CPU, for so many images at once: the median of so many passes."""
    quick = folded(model).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    pixels = torch.zeros((images, SIDE, SIDE), dtype=torch.uint8)
    seconds = []
    with torch.inference_mode():
        for _ in range(passes + passes // 3):
            start = time.perf_counter()
            quick(as_input(pixels.to(device))).cpu()
            seconds.append(time.perf_counter() - start)
    return 1000 * median(seconds[passes // 3 :])  # the first ones allocate and choose kernels


def top(probabilities: NDArray[np.float32], class_names: tuple[str, ...], k: int = 3) -> list[tuple[str, float]]:
    """The `k` likeliest classes of one image with their probabilities, likeliest first.

    Shape: probabilities [classes].
    """
    return [(class_names[i], float(probabilities[i])) for i in np.argsort(-probabilities, kind="stable")[:k]]
