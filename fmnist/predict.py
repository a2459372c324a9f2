"""From images to class probabilities and features."""

import copy
import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from fmnist.checkpoint import Checkpoint
from fmnist.cuda import full_precision
from fmnist.data.images import require_images
from fmnist.network import Network, folded
from fmnist.scoring import as_input, class_scores
from fmnist.size import Size
from fmnist.timing import median_ms, steady

LATENCY_PASSES = 30


def predict(checkpoint: Checkpoint, pixels: NDArray[np.uint8], device: torch.device) -> NDArray[np.float32]:
    """Return the probability of each class for each image. Moves the checkpoint's network to `device`.

    Shape: uint8 [N, side, side], or in colour [N, side, side, 3] -> [N, classes], rows sum to 1.
    Raises: FmnistError if the images have another shape or type.
    """
    require_images(pixels, checkpoint.config.size, "`picture_reader` prepares a picture.")
    writable = np.require(pixels, requirements=["C", "W"])  # PyTorch warns of read-only arrays
    with full_precision():
        logits = class_scores(checkpoint.model.to(device), torch.from_numpy(writable).to(device))
    probabilities: NDArray[np.float32] = logits.softmax(dim=1).numpy()
    return probabilities


def features(checkpoint: Checkpoint, pixels: NDArray[np.uint8], device: torch.device) -> NDArray[np.float32]:
    """Return the input of the network's last layer for each image.

    Shape: uint8 [N, side, side], or in colour [N, side, side, 3] -> [N, features].
    """
    model = copy.deepcopy(checkpoint.model)
    model.classifier[-1] = nn.Identity()
    writable = np.require(pixels, requirements=["C", "W"])
    with full_precision():
        vectors: NDArray[np.float32] = class_scores(model.to(device), torch.from_numpy(writable).to(device)).numpy()
    return vectors


def latency_ms(model: Network, size: Size, device: torch.device, *, seconds: float = math.inf) -> float:
    """Return the milliseconds from the pixels of one image to its class scores on the CPU, as a steady median.

    A median is of LATENCY_PASSES passes, or of fewer within `seconds`.
    """
    quick = folded(model).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    pixels = torch.zeros((1, *size.shape), dtype=torch.uint8)
    with torch.inference_mode():
        return steady(
            lambda: median_ms(lambda: quick(as_input(pixels.to(device))).cpu(), passes=LATENCY_PASSES, seconds=seconds)
        )[0]
