"""The convolution of grey images as a matrix product.

cuDNN's kernels for one input channel are the slow ones, and they change layouts on the way: together about a fifth of a
step on an H200 (studies/LOG.md, 2026-11-27). The product reads what the layer reads, patch by patch, and gives
channels-last maps.
"""

import torch
from torch import Tensor
from torch.nn.functional import linear, pad

ALIGNED = 16  # numbers a row: tensor cores read bfloat16 in rows of at least 16 bytes


def convolve_grey(images: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """What `conv2d` with padding "same" gives.

    Shape: images [N, 1, H, W], weight [C, 1, K, K] with odd K, bias [C] -> [N, C, H, W], channels last.
    """
    if torch.is_autocast_enabled(images.device.type):
        images = images.to(
            torch.get_autocast_dtype(images.device.type)
        )  # before the patches are made: they are K * K times as many
    size = weight.shape[-1]
    width = -(-size * size // ALIGNED) * ALIGNED
    around = pad(images.squeeze(1), (size // 2,) * 4)
    patches = images.new_zeros((*images.shape[:1], *images.shape[2:], width))  # [N, H, W, width]
    patches[..., : size * size].unflatten(3, (size, size)).copy_(around.unfold(1, size, 1).unfold(2, size, 1))
    return linear(patches, pad(weight.flatten(1), (0, width - size * size)), bias).permute(0, 3, 1, 2)
