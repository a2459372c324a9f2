"""The cores and the processor of this machine."""

import os
import platform
from pathlib import Path

QUOTA = Path("/sys/fs/cgroup/cpu.max")  # of the container


def cores() -> int:
    """Return the number of cores that this process may use; in a container there may be fewer than on the machine."""
    there = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = (int(number) for number in QUOTA.read_text().split())  # microseconds
    except (OSError, ValueError):  # no container, or no limit ("max")
        return there
    return max(1, min(there, quota // period))


def processor() -> str:
    """Return the name of the processor."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
