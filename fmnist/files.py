"""Files that a person names and a stranger may have written: looked at before they are opened, and never read past a
limit.
"""

import stat
from pathlib import Path

from fmnist.errors import FmnistError


def read_file(path: Path, at_most: int) -> bytes:
    """All that the file holds.

    Raises: FmnistError where it is larger than `at_most` bytes, or no file but a folder, a pipe or a device; OSError as
    `open` does.
    """
    require_file(path, at_most)
    with path.open("rb") as file:
        data = file.read(at_most + 1)
    _require_size(path, len(data), at_most)  # it may have grown since, or be one of /proc, which claim to be empty
    return data


def require_file(path: Path, at_most: int) -> None:
    """At `path`, or where its links lead, is a file of at most that size, which can be opened without waiting for
    anybody.

    Raises: FmnistError; OSError where there is nothing.
    """
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):
        kind = "a folder" if stat.S_ISDIR(found.st_mode) else "a pipe, a socket or a device"
        raise FmnistError(f"{path} must be a file, got {kind}. Check the path.")
    _require_size(path, found.st_size, at_most)


def _require_size(path: Path, size: int, at_most: int) -> None:
    if size > at_most:
        raise FmnistError(f"{path} must be at most {at_most:,} bytes, got {size:,}. Is it a file of another program?")
