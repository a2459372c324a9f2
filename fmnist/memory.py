"""Available memory, checked before a large file is read."""

from pathlib import Path

import psutil

from fmnist.errors import FmnistError

CGROUP = Path("/sys/fs/cgroup")  # of the container


def available_memory() -> int:
    """Return the bytes that are available without swapping, on the machine or in its container."""
    machine = int(psutil.virtual_memory().available)
    try:
        limit, used = (int((CGROUP / f"memory.{name}").read_text()) for name in ("max", "current"))
        return min(machine, max(0, limit - used + _file_cache()))
    except (OSError, ValueError):  # no container, or no limit ("max")
        return machine


def _file_cache() -> int:
    """Return the bytes of files in memory, which count as used and are given up for anything else."""
    lines = (line.split() for line in (CGROUP / "memory.stat").read_text().splitlines())
    return sum(int(value) for name, value in lines if name in ("inactive_file", "active_file"))


def require_memory(needed: int, what: str) -> None:
    """Require `needed` bytes of memory for `what`.

    Raises: FmnistError with both figures if less is available.
    """
    if needed > (available := available_memory()):
        raise FmnistError(
            f"{what} takes about {needed / 2**30:,.1f} GiB of memory to read; {available / 2**30:,.1f} GiB are "
            "available. Use fewer or smaller images, or a machine with more memory."
        )
