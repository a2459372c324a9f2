"""Reading of untrusted files: checked before they are opened, and never read past a limit."""

import stat
from pathlib import Path

from fmnist.errors import FmnistError


def read_file(path: Path, at_most: int) -> bytes:
    """Return the content of the file.

    Raises: FmnistError if it is larger than `at_most` bytes or not a regular file. OSError as `open`.
    """
    require_file(path, at_most)
    with path.open("rb") as file:
        data = file.read(at_most + 1)
    _require_size(path, len(data), at_most)  # it may have grown, or be in /proc, where sizes are 0
    return data


def require_file(path: Path, at_most: int) -> None:
    """Require a regular file of at most that size; opening others may block. Follows links.

    Raises: FmnistError. OSError if there is no file.
    """
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        kind = "a folder" if stat.S_ISDIR(status.st_mode) else "a pipe, a socket or a device"
        raise FmnistError(f"{path} must be a file, got {kind}. Check the path.")
    _require_size(path, status.st_size, at_most)


def _require_size(path: Path, size: int, at_most: int) -> None:
    if size > at_most:
        raise FmnistError(f"{path} must be at most {at_most:,} bytes, got {size:,}. Check the path.")
