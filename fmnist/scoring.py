"""From pixels to class scores, and from those to loss, macro F1 and accuracy."""

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from fmnist.augment import resized
from fmnist.data.images import Images
from fmnist.metrics import macro_f1
from fmnist.network import Network, folded

CPU_BATCH = 125  # images in a forward pass; a third faster than 1000, because they fit the caches
BATCH = 2500  # on other devices: few launches, and far less memory than the training of a large network


def class_scores(model: Network, pixels: Tensor, side: int | None = None) -> Tensor:
    """Return the logits of the images, on the CPU, computed in float32 and evaluation mode.

    With `side` the images are resized to as many pixels. `pixels` are on the device of the model. On a device other
    than the CPU, this leaves the model in evaluation mode.
    Shape: uint8 [N, S, S] or [N, S, S, 3] -> float [N, classes].
    """
    is_cpu = pixels.device.type == "cpu"
    with torch.inference_mode():
        # A folded copy halves the work. On a GPU launches dominate, and the copy costs more than it saves.
        quick = folded(model).to(memory_format=torch.channels_last) if is_cpu else model.eval()  # type: ignore[call-overload]
        size = max(1, (CPU_BATCH if is_cpu else BATCH) // model.views)
        scores = [quick(resized(as_input(batch), side or pixels.shape[1])).float() for batch in pixels.split(size)]
        return torch.cat(scores).cpu()


def as_input(pixels: Tensor) -> Tensor:
    """Return the input of a Network. Shape: uint8 [N, S, S] or [N, S, S, 3] -> float [N, channels, S, S] in 0..1."""
    channels_first = pixels.unsqueeze(1) if pixels.ndim == 3 else pixels.permute(0, 3, 1, 2)
    return channels_first.float().div_(255)


def figures(logits: Tensor, images: Images) -> tuple[float, float, float]:
    """Return mean loss, macro F1 and accuracy. Shape: [N, classes], on the CPU."""
    labels, predictions = torch.from_numpy(images.labels), logits.argmax(dim=1)
    f1 = macro_f1(images.labels, predictions.numpy(), len(images.class_names))
    return cross_entropy(logits, labels).item(), f1, (predictions == labels).float().mean().item()
