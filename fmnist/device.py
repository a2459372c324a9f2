"""The devices of this machine, and the choice of one."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from fmnist.cuda import cuda_devices, cuda_memory, cuda_name, is_cuda
from fmnist.errors import FmnistError
from fmnist.memory import available_memory


def choose_device(name: str | None) -> torch.device:
    """Return the named device; for None the fastest that is present: CUDA, then Apple's MPS, then the CPU.

    Raises: FmnistError if the device is unknown or absent. There is no fallback.
    """
    if name is None:
        return torch.device(available_devices()[0])
    present = f"Present: {', '.join(available_devices())}."
    try:
        device = torch.device(name)
    except RuntimeError:
        raise FmnistError(f"The device must be cpu, cuda, cuda:N or mps, got {name!r}. {present}") from None
    # PyTorch stores the index in eight bits, so that "cuda:256" would be cuda:0.
    if str(device) != name or not _is_present(device):
        raise FmnistError(f"The device {name!r} is not present here. {present}")
    return device


def available_devices() -> list[str]:
    """Return the names of the devices that are present, fastest first."""
    names = ["cuda"] if cuda_devices() else []
    if torch.backends.mps.is_available():
        names.append("mps")
    return [*names, "cpu"]


def device_name(device: torch.device) -> str:
    """Return the product name of a GPU, or the type of another device."""
    return cuda_name(device) if is_cuda(device) else device.type


def free_memory(device: torch.device) -> int:
    """Return the bytes that are free for a training on the device."""
    return cuda_memory(device)[0] if is_cuda(device) else available_memory()


def _is_present(device: torch.device) -> bool:
    if is_cuda(device):
        return (device.index or 0) < cuda_devices()
    return device.type in available_devices() and not device.index


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Set the number of PyTorch's threads within the block."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
