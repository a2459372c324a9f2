"""From images to class probabilities."""

import copy

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from fmnist.checkpoint import Checkpoint
from fmnist.cuda import full_precision
from fmnist.data.images import SIDE
from fmnist.errors import FmnistError
from fmnist.network import Network, folded
from fmnist.scoring import as_input, class_scores
from fmnist.timing import median_ms, steady

LATENCY_PASSES = 30


def predict(checkpoint: Checkpoint, pixels: NDArray[np.uint8], device: torch.device) -> NDArray[np.float32]:
    """The probability of each class for each image; the checkpoint's network is on `device` then.

    Shape: uint8 [N, 28, 28] -> [N, classes], rows sum to 1.
    """
    if pixels.dtype != np.uint8 or pixels.shape[1:] != (SIDE, SIDE):
        raise FmnistError(
            f"Images must be uint8 [N, 28, 28], got {pixels.dtype} {list(pixels.shape)}. `read_picture` makes one of a "
            "file."
        )
    writable = np.require(pixels, requirements=["C", "W"])  # PyTorch warns of arrays it could not write to
    with full_precision():
        logits = class_scores(checkpoint.model.to(device), torch.from_numpy(writable).to(device))
    probabilities: NDArray[np.float32] = logits.softmax(dim=1).numpy()
    return probabilities


def features(checkpoint: Checkpoint, pixels: NDArray[np.uint8], device: torch.device) -> NDArray[np.float32]:
    """What the network's last layer reads its classes from, for each image.

    Shape: uint8 [N, 28, 28] -> [N, features].
    """
    model = copy.deepcopy(checkpoint.model)
    model.classifier[-1] = nn.Identity()
    writable = np.require(pixels, requirements=["C", "W"])
    with full_precision():
        found: NDArray[np.float32] = class_scores(model.to(device), torch.from_numpy(writable).to(device)).numpy()
    return found


def latency_ms(model: Network, device: torch.device) -> float:
    """Milliseconds from the raw pixels of one image to its class scores on the CPU, measured until two medians
    agree.
    """
    quick = folded(model).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    pixels = torch.zeros((1, SIDE, SIDE), dtype=torch.uint8)
    with torch.inference_mode():
        return steady(lambda: median_ms(lambda: quick(as_input(pixels.to(device))).cpu(), passes=LATENCY_PASSES))[0]
