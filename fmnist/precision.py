"""The precision of training: bfloat16 where it is fast, otherwise float32."""

import time
from functools import cache

import torch
from torch import Generator
from torch.nn.functional import conv2d

from fmnist.cuda import multiplies_bfloat16
from fmnist.device import torch_threads

# The multiple of float32's time above which bfloat16 is refused. On the one processor where it was measured, with its
# kernels limited by ONEDNN_MAX_CPU_ISA: 0.2 to 0.4, 1.5 without its matrix unit, and 3.1 to 14 without kernels for
# bfloat16. A training cannot resume from a snapshot of the other precision, so noise should not change the decision.
SLOW = 1.2
IMAGES, CHANNELS, SIDE = 128, (24, 48), 14  # a typical convolution, after the first pooling
FEWEST, MOST, SECONDS = 2, 5, 0.4  # steps of each precision, and the time after which no more than FEWEST are taken


def is_mixed(device: torch.device) -> bool:
    """Whether training multiplies in bfloat16 on `device`.

    On CUDA this follows from the hardware. A CPU with instructions for bfloat16 is measured, once per process: some
    versions of PyTorch lack the kernels.
    Source: pytorch/pytorch issue 183815.
    """
    match device.type:
        case "cuda":
            return multiplies_bfloat16(device)
        case "cpu":
            return _has_bfloat16() and bfloat16_time() <= SLOW
        case _:
            return False


def why_float32(device: torch.device) -> str | None:
    """Return why training uses float32 on a CPU with instructions for bfloat16; None on any other device."""
    if device.type != "cpu" or not _has_bfloat16() or is_mixed(device):
        return None
    return (
        f"bfloat16 is not used: a convolution takes {bfloat16_time():.1f} times as long in it as in float32, with this "
        f"processor and PyTorch {torch.__version__}. Training uses float32."
    )


@cache
def bfloat16_time() -> float:
    """Return the time of a convolution's forward and backward pass in bfloat16 on the CPU, divided by that in float32.

    The shortest times of several passes on one thread. The two precisions take turns, so that other work on the machine
    makes both longer.
    """
    exact: list[float] = []
    rounded: list[float] = []
    with torch_threads(1), torch.enable_grad():
        _seconds(torch.float32)  # the first pass loads the kernels
        start = time.perf_counter()
        while len(exact) < FEWEST or (len(exact) < MOST and time.perf_counter() - start < SECONDS):
            exact.append(_seconds(torch.float32))
            rounded.append(_seconds(torch.bfloat16))
    return min(rounded) / min(exact)


def _has_bfloat16() -> bool:
    return bool(torch.cpu.get_capabilities().get("avx512_bf16"))


def _seconds(dtype: torch.dtype) -> float:
    generator = Generator().manual_seed(0)  # its own: the probe must not change the numbers that a training draws
    shapes = (IMAGES, CHANNELS[0], SIDE, SIDE), (CHANNELS[1], CHANNELS[0], 3, 3)
    images, weights = (
        torch.rand(shape, generator=generator).to(dtype, memory_format=torch.channels_last).requires_grad_()
        for shape in shapes
    )
    start = time.thread_time()  # of this thread: time in which others have the core does not count
    maps = conv2d(images, weights, padding=1)
    torch.autograd.grad(maps, (images, weights), maps.detach())
    return time.thread_time() - start
