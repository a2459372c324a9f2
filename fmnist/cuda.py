"""The only module that calls `torch.cuda`. On a device of another type its functions do nothing, or say what holds
without CUDA.
"""

import gc
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

# In errors of CUDA and its libraries that PyTorch raises as a plain RuntimeError.
_FAULTS = ("CUDA error", "CUDA driver error", "cuDNN error", "CUDNN_STATUS_", "CUBLAS_STATUS_")

# One capture at a time: it begins with a synchronization of the device, which would break a capture under way in
# another thread.
_CAPTURE = threading.Lock()


def is_cuda(device: torch.device) -> bool:
    """Whether `device` is a CUDA device."""
    return device.type == "cuda"


def cuda_devices() -> int:
    """How many CUDA devices this process can use."""
    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def cuda_name(device: torch.device) -> str:
    """The product name of a CUDA device."""
    return torch.cuda.get_device_name(device)


def multiplies_bfloat16(device: torch.device) -> bool:
    """Whether a CUDA device has units for bfloat16, as those of compute capability 8.0 (Ampere) and later do; others
    only imitate it.
    """
    return torch.cuda.get_device_capability(device) >= (8, 0)


def cuda_memory(device: torch.device) -> tuple[int, int]:
    """Bytes of a CUDA device's memory: what is free, and all of it. The process has a context on the device
    afterwards.
    """
    free, total = torch.cuda.mem_get_info(device)
    return int(free), int(total)


def release_memory(device: torch.device) -> None:
    """Memory that PyTorch keeps for later goes back to the device, where other processes can have it."""
    if is_cuda(device):
        with _CAPTURE:
            torch.cuda.empty_cache()


def is_fault(error: Exception) -> bool:
    """Whether CUDA itself failed. Most such errors stay: each later call of the process fails, and only a new one can
    use the device.
    """
    return isinstance(error, torch.AcceleratorError) or any(sign in str(error) for sign in _FAULTS)


def random_state(device: torch.device) -> dict[str, Tensor]:
    """The state of PyTorch's default generator on a CUDA device, under the name that a snapshot gives it."""
    return {"random.cuda": torch.cuda.get_rng_state(device)} if is_cuda(device) else {}


def set_random_state(device: torch.device, states: dict[str, Tensor]) -> None:
    """The default generator is in the state that `random_state` returned."""
    if is_cuda(device):
        torch.cuda.set_rng_state(states["random.cuda"], device)


def upload(values: list[float], device: torch.device) -> Tensor:
    """The numbers on a CUDA device; the host does not wait for what was queued there. Shape: [len(values)]."""
    return torch.tensor(values, pin_memory=True).to(device, non_blocking=True)


class SideStream:
    """A stream of one training's own: a graph cannot be captured on the default one, and trainings side by side
    overlap.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device) if is_cuda(device) else None

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """Within, work goes to the stream, after all that was queued before; what follows waits for it."""
        if self._stream is None:
            yield
            return
        around = torch.cuda.current_stream(self._device)
        self._stream.wait_stream(around)
        try:
            with torch.cuda.stream(self._stream):
                yield
        finally:  # after an error too: what is queued still writes
            around.wait_stream(self._stream)


@contextmanager
def full_precision() -> Iterator[None]:
    """Within, convolutions on CUDA multiply in float32. Otherwise cuDNN rounds their input to TF32, which has 10 bits
    of mantissa.
    """
    convolutions: Any = torch.backends.cudnn.conv  # type: ignore[attr-defined]  # set up at import, where mypy does not see it
    before, convolutions.fp32_precision = convolutions.fp32_precision, "ieee"
    try:
        yield
    finally:
        convolutions.fp32_precision = before


@contextmanager
def _no_collection() -> Iterator[None]:
    """Within, no garbage is collected: the graph of an earlier training among it would be destroyed, which breaks a
    capture.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def capture(work: Callable[[], None], device: torch.device) -> Callable[[], None]:
    """The work of `work` as a CUDA graph: each call of what is returned repeats it, at the cost of one launch.

    `work` must have run before on the current stream, which is not the default one. It is not executed here.
    Raises: What `work` raises. PyTorch's generator and its allocator may take the capture for unfinished then, until
    the process ends.
    Source: "Accelerating PyTorch with CUDA Graphs", pytorch.org/blog, 2021.
    """
    graph = torch.cuda.CUDAGraph()
    stream = torch.cuda.current_stream(device)
    try:
        # Other threads may allocate memory meanwhile: only what this one does is captured.
        with _CAPTURE, _no_collection(), torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
            work()
    except RuntimeError as error:
        if isinstance(
            error.__context__, Exception
        ):  # ending a capture in which `work` failed fails as well, and hides why
            raise error.__context__ from None
        raise
    return graph.replay
