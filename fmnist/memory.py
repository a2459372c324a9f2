"""Available memory, checked before a large file is read."""

from pathlib import Path

import psutil

from fmnist.errors import FmnistError

_LIMIT, _USED = Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")


def available_memory() -> int:
    """Return the bytes that are available without swapping, on the machine or in its container."""
    machine = int(psutil.virtual_memory().available)
    try:
        return min(machine, max(0, int(_LIMIT.read_text()) - int(_USED.read_text())))
    except (OSError, ValueError):  # no container, or no limit ("max")
        return machine


def require_memory(needed: int, what: str) -> None:
    """Require `needed` bytes of memory for `what`.

    Raises: FmnistError with both figures if less is available.
    """
    if needed > (available := available_memory()):
        raise FmnistError(
            f"{what} takes about {needed / 2**30:,.1f} GiB of memory to read; {available / 2**30:,.1f} GiB are "
            "available. Use fewer or smaller images, or a machine with more memory."
        )
