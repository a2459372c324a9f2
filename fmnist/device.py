"""Which device trains."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from fmnist.cuda import cuda_devices, cuda_memory, cuda_name, is_cuda
from fmnist.errors import FmnistError
from fmnist.memory import available_memory


def choose_device(asked: str | None) -> torch.device:
    """The device asked for, or without a wish the fastest there is: CUDA, then Apple's MPS, then the CPU.

    Raises: FmnistError where the device asked for is unknown or absent; another one is never taken in its place.
    """
    if asked is None:
        return torch.device(available_devices()[0])
    present = f"Present: {', '.join(available_devices())}."
    try:
        device = torch.device(asked)
    except RuntimeError:
        raise FmnistError(f"The device must be cpu, cuda, cuda:N or mps, got {asked!r}. {present}") from None
    # PyTorch keeps an index in eight bits, so that "cuda:256" would be cuda:0.
    if str(device) != asked or not _is_present(device):
        raise FmnistError(f"The device {asked!r} is not present here. {present}")
    return device


def available_devices() -> list[str]:
    """Names of the devices present, fastest first."""
    names = ["cuda"] if cuda_devices() else []
    if torch.backends.mps.is_available():
        names.append("mps")
    return [*names, "cpu"]


def device_name(device: torch.device) -> str:
    """The GPU's own name, or the kind of device."""
    return cuda_name(device) if is_cuda(device) else device.type


def free_memory(device: torch.device) -> int:
    """Bytes that a training on the device may still take."""
    return cuda_memory(device)[0] if is_cuda(device) else available_memory()


def _is_present(device: torch.device) -> bool:
    if is_cuda(device):
        return (device.index or 0) < cuda_devices()
    return device.type in available_devices() and not device.index


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Within, PyTorch computes with so many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
