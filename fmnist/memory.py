"""How much memory there is, asked before a large file is read."""

from pathlib import Path

import psutil

from fmnist.errors import FmnistError

_LIMIT, _USED = Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")


def available_memory() -> int:
    """Bytes that this process may still take without swapping: the machine's, or its container's where that is less."""
    machine = int(psutil.virtual_memory().available)
    try:
        return min(machine, max(0, int(_LIMIT.read_text()) - int(_USED.read_text())))
    except (OSError, ValueError):  # no container, or one whose limit is "max"
        return machine


def require_memory(needed: int, what: str) -> None:
    """The memory that `what` takes is there.

    Raises: FmnistError with both figures where it is not.
    """
    if needed > (available := available_memory()):
        raise FmnistError(
            f"{what} takes about {needed / 2**30:,.1f} GiB of memory to read; {available / 2**30:,.1f} GiB are "
            "available. "
            "Give fewer or smaller images, or a machine with more memory."
        )
