import pytest
import torch
from torch import Tensor
from torch.nn.functional import conv2d

from fmnist.grey import convolve_grey

DEVICES = [
    "cpu",
    pytest.param(
        "cuda", marks=[pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")]
    ),
]


def with_gradients(device: str, size: int, channels: int, biased: bool, mixed: bool, product: bool) -> list[Tensor]:
    """The maps, and the gradients of weight and bias."""
    random = torch.Generator().manual_seed(0)
    images = torch.rand((5, 1, 14, 14), generator=random).to(device)
    weight, bias = torch.randn((channels, 1, size, size), generator=random), torch.randn(channels, generator=random)
    parameters = [tensor.to(device).requires_grad_() for tensor in ((weight, bias) if biased else (weight,))]
    with torch.autocast(device, dtype=torch.bfloat16, enabled=mixed):
        arguments = (images, parameters[0], parameters[1] if biased else None)
        maps = convolve_grey(*arguments) if product else conv2d(*arguments, padding="same")
    (maps.float() * torch.arange(14.0, device=device)).sum().backward()
    return [maps.detach().float(), *(tensor.grad for tensor in parameters if tensor.grad is not None)]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize(("size", "channels", "biased"), [(3, 8, True), (3, 12, False), (5, 4, True)])
def test_the_matrix_product_equals_the_convolution(
    device: str, size: int, channels: int, biased: bool, mixed: bool
) -> None:
    products, convolutions = (with_gradients(device, size, channels, biased, mixed, grey) for grey in (True, False))
    for actual, expected in zip(products, convolutions, strict=True):
        assert actual.dtype == expected.dtype
        assert (actual - expected).norm() <= (2e-2 if mixed else 2e-3) * expected.norm()


def test_the_maps_are_channels_last() -> None:
    maps = convolve_grey(torch.rand(2, 1, 6, 6), torch.rand(8, 1, 3, 3), None)
    assert maps.is_contiguous(memory_format=torch.channels_last)
