"""The convolution of grey images as a matrix product.

cuDNN's kernels for one input channel are slow and change the memory layout: together about a fifth of a step on an H200
(studies/LOG.md, 2026-11-27). The product reads the images patch by patch and gives channels-last maps.
"""

import torch
from torch import Tensor
from torch.nn.functional import linear, pad

ALIGNED = 16  # numbers per row: tensor cores read bfloat16 in rows of at least 16 bytes


def convolve_grey(images: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Return the result of `conv2d` with padding "same".

    Shape: images [N, 1, H, W], weight [C, 1, K, K] with odd K, bias [C] -> [N, C, H, W], channels last.
    """
    if torch.is_autocast_enabled(images.device.type):
        # Cast before the patches are built, which have K * K times as many numbers.
        images = images.to(torch.get_autocast_dtype(images.device.type))
    size = weight.shape[-1]
    width = -(-size * size // ALIGNED) * ALIGNED
    padded = pad(images.squeeze(1), (size // 2,) * 4)
    patches = images.new_zeros((*images.shape[:1], *images.shape[2:], width))  # [N, H, W, width]
    patches[..., : size * size].unflatten(3, (size, size)).copy_(padded.unfold(1, size, 1).unfold(2, size, 1))
    return linear(patches, pad(weight.flatten(1), (0, width - size * size)), bias).permute(0, 3, 1, 2)
