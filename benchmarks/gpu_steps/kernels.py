"""The kernels that a device executes, as recorded by PyTorch's profiler."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from fmnist.cuda import is_cuda

MOST = 16  # listed kinds of kernels


@dataclass(frozen=True)
class Kernels:
    """Times are in microseconds of one clock."""

    names: tuple[str, ...]
    starts: tuple[float, ...]
    ends: tuple[float, ...]

    @property
    def busy(self) -> float:
        """The time in which at least one kernel ran."""
        total, last = 0.0, float("-inf")
        for start, end in sorted(zip(self.starts, self.ends, strict=True)):
            total += max(0.0, end - max(start, last))
            last = max(last, end)
        return total

    def figures(self, *, steps: int, unwatched: float) -> dict[str, Any]:
        """Return the kernels per step, their time, the share of idle time, and the most expensive kernels.

        Args:
            unwatched: Seconds of the work without the profiler, which slows it down.
        """
        micros: Counter[str] = Counter()
        counts: Counter[str] = Counter(self.names)
        for name, start, end in zip(self.names, self.starts, self.ends, strict=True):
            micros[name] += end - start  # type: ignore[assignment]
        kinds = [
            {"kernel": name[:120], "us": total / steps, "count": counts[name] / steps}
            for name, total in micros.most_common(MOST)
        ]
        busy = self.busy
        return {
            "kernels": len(self.names) / steps,
            "kernel_us": busy / steps,
            "gap_share": max(0.0, 1 - busy / (unwatched * 1e6)),
            "kinds": kinds,
        }


def kernels_of(work: Callable[[], object], device: torch.device) -> Kernels:
    """Return the kernels on a CUDA device, or PyTorch's outermost operators on another device."""
    on_cuda = is_cuda(device)
    with profile(activities=[ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_cuda else [])]) as profiler:
        work()
    device_type = "DeviceType.CUDA" if on_cuda else "DeviceType.CPU"
    events = [
        event
        for event in profiler.events() or ()
        if str(event.device_type) == device_type and (on_cuda or event.cpu_parent is None)
    ]
    times = [event.time_range for event in events]
    return Kernels(
        tuple(event.name for event in events), tuple(time.start for time in times), tuple(time.end for time in times)
    )
