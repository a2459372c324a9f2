"""The only module that calls `torch.cuda`."""

import gc
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

# Texts in the errors of CUDA and its libraries that PyTorch raises as a plain RuntimeError.
_FAULTS = ("CUDA error", "CUDA driver error", "cuDNN error", "CUDNN_STATUS_", "CUBLAS_STATUS_")

# One capture at a time: it starts with a synchronization of the device, which would break a capture in another thread.
_CAPTURE = threading.Lock()


def is_cuda(device: torch.device) -> bool:
    """Whether `device` is a CUDA device."""
    return device.type == "cuda"


def cuda_devices() -> int:
    """Return the number of CUDA devices that this process can use."""
    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def cuda_name(device: torch.device) -> str:
    """Return the product name of a CUDA device."""
    return torch.cuda.get_device_name(device)


def multiplies_bfloat16(device: torch.device) -> bool:
    """Whether a CUDA device multiplies bfloat16 in hardware: from compute capability 8.0 (Ampere)."""
    return torch.cuda.get_device_capability(device) >= (8, 0)


def cuda_memory(device: torch.device) -> tuple[int, int]:
    """Return the free and the total memory of a CUDA device in bytes. Creates a context on the device."""
    free, total = torch.cuda.mem_get_info(device)
    return int(free), int(total)


def release_memory(device: torch.device) -> None:
    """Return memory that PyTorch has cached to the device, for other processes. Does nothing without CUDA."""
    if is_cuda(device):
        with _CAPTURE:
            torch.cuda.empty_cache()


def is_fault(error: Exception) -> bool:
    """Whether CUDA itself failed. After most such errors every later call of the process fails, too."""
    return isinstance(error, torch.AcceleratorError) or any(sign in str(error) for sign in _FAULTS)


def random_state(device: torch.device) -> dict[str, Tensor]:
    """Return the state of PyTorch's default generator on a CUDA device, under its name in a snapshot."""
    return {"random.cuda": torch.cuda.get_rng_state(device)} if is_cuda(device) else {}


def set_random_state(device: torch.device, states: dict[str, Tensor]) -> None:
    """Restore the state that `random_state` returned."""
    if is_cuda(device):
        torch.cuda.set_rng_state(states["random.cuda"], device)


def upload(values: list[float], device: torch.device) -> Tensor:
    """Copy the numbers to a CUDA device without waiting for work queued there. Shape: [len(values)]."""
    return torch.tensor(values, pin_memory=True).to(device, non_blocking=True)


class SideStream:
    """A CUDA stream for one training: graphs cannot be captured on the default stream, and trainings can overlap."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device) if is_cuda(device) else None

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """Queue the work of the block on the stream, in order with the work before and after it."""
        if self._stream is None:
            yield
            return
        outer = torch.cuda.current_stream(self._device)
        self._stream.wait_stream(outer)
        try:
            with torch.cuda.stream(self._stream):
                yield
        finally:  # also after an error: queued work still writes
            outer.wait_stream(self._stream)


@contextmanager
def full_precision() -> Iterator[None]:
    """Make convolutions on CUDA multiply in float32 instead of TF32, which has a mantissa of 10 bits."""
    convolutions: Any = torch.backends.cudnn.conv  # type: ignore[attr-defined]  # created at import, unknown to mypy
    before, convolutions.fp32_precision = convolutions.fp32_precision, "ieee"
    try:
        yield
    finally:
        convolutions.fp32_precision = before


@contextmanager
def _no_collection() -> Iterator[None]:
    """Disable garbage collection: destroying the graph of an earlier training would break a capture."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def capture(work: Callable[[], None], device: torch.device) -> Callable[[], None]:
    """Capture `work` as a CUDA graph and return a function that replays it with a single launch.

    `work` must have run before on the current stream, which must not be the default one. The capture does not execute
    it.
    Raises: What `work` raises. PyTorch's generator and allocator may then consider the capture unfinished until the
    process ends.
    Source: "Accelerating PyTorch with CUDA Graphs", pytorch.org/blog, 2021.
    """
    graph = torch.cuda.CUDAGraph()
    stream = torch.cuda.current_stream(device)
    try:
        # "thread_local" lets other threads allocate memory during the capture.
        with _CAPTURE, _no_collection(), torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
            work()
    except RuntimeError as error:
        if isinstance(error.__context__, Exception):  # of `work`; the end of its capture failed, too
            raise error.__context__ from None
        raise
    return graph.replay
