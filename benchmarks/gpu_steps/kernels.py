"""What a device does while some work runs: its kernels, one after the other, as PyTorch's profiler sees them."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from fmnist.cuda import is_cuda

MOST = 16  # kinds of kernels that are listed


@dataclass(frozen=True)
class Kernels:
    """Times are in microseconds, of the same clock."""

    names: tuple[str, ...]
    starts: tuple[float, ...]
    ends: tuple[float, ...]

    @property
    def busy(self) -> float:
        """How long at least one kernel ran."""
        total, last = 0.0, float("-inf")
        for start, end in sorted(zip(self.starts, self.ends, strict=True)):
            total += max(0.0, end - max(start, last))
            last = max(last, end)
        return total

    def figures(self, *, steps: int, unwatched: float) -> dict[str, Any]:
        """Of each step: kernels, their time, the share of the time in which none ran; and which kernels take the most.

        Args:
            unwatched: Seconds that the work takes without the profiler, which slows it down.
        """
        micros: Counter[str] = Counter()
        counts: Counter[str] = Counter(self.names)
        for name, start, end in zip(self.names, self.starts, self.ends, strict=True):
            micros[name] += end - start  # type: ignore[assignment]
        kinds = [
            {"kernel": name[:120], "us": taken / steps, "count": counts[name] / steps}
            for name, taken in micros.most_common(MOST)
        ]
        busy = self.busy
        return {
            "kernels": len(self.names) / steps,
            "kernel_us": busy / steps,
            "gap_share": max(0.0, 1 - busy / (unwatched * 1e6)),
            "kinds": kinds,
        }


def kernels_of(work: Callable[[], object], device: torch.device) -> Kernels:
    """The kernels that ran on a CUDA device; elsewhere PyTorch's own operators, those within others left out."""
    on_cuda = is_cuda(device)
    with profile(activities=[ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_cuda else [])]) as profiler:
        work()
    wanted = "DeviceType.CUDA" if on_cuda else "DeviceType.CPU"
    events = [
        each
        for each in profiler.events() or ()
        if str(each.device_type) == wanted and (on_cuda or each.cpu_parent is None)
    ]
    times = [each.time_range for each in events]
    return Kernels(
        tuple(each.name for each in events), tuple(time.start for time in times), tuple(time.end for time in times)
    )
