"""From pixels to class scores."""

import torch
from torch import Tensor

from fmnist.augment import resized
from fmnist.data.images import SIDE
from fmnist.network import Network, folded

CPU_BATCH = 125  # images; a third faster than 1000, because they fit the caches
BATCH = 2500  # of any other device: few launches, and still far less memory than a large network's training takes


def class_scores(model: Network, pixels: Tensor, side: int = SIDE) -> Tensor:
    """Logits of the images, brought to `side` pixels, computed in float32 and evaluation mode; on the CPU.

    `pixels` are on the device of the model. On a device other than the CPU the model itself is in evaluation mode
    afterwards.
    Shape: uint8 [N, 28, 28] -> float [N, classes].
    """
    is_cpu = pixels.device.type == "cpu"
    with torch.inference_mode():
        # Folding a copy halves the work. Where launches are what takes the time, the copy takes more than it saves.
        quick = folded(model).to(memory_format=torch.channels_last) if is_cpu else model.eval()  # type: ignore[call-overload]
        scores = [
            quick(resized(as_input(batch), side)).float() for batch in pixels.split(CPU_BATCH if is_cpu else BATCH)
        ]
        return torch.cat(scores).cpu()


def as_input(pixels: Tensor) -> Tensor:
    """What a Network reads. Shape: uint8 [N, 28, 28] -> float [N, 1, 28, 28] in 0..1."""
    return pixels.unsqueeze(1).float().div_(255)
