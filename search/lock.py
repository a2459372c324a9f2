"""One run at a time on a study."""

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import filelock

from search.environment import now
from search.errors import SearchError

LOCK, HOLDER = "run.lock", "run.json"


@contextmanager
def sole_run(folder: Path, study: str) -> Iterator[None]:
    """Within, no other run works on the study whose folder this is.

    The operating system frees the lock when its process dies, however it dies: one that is left over holds nobody up.
    Raises: SearchError where another run is at work, with its host and process.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        held = filelock.FileLock(folder / LOCK).acquire(timeout=0)
    except filelock.Timeout:
        raise SearchError(
            f"Another run is at work on the study {study!r}: {_holder(folder)}. Wait for it, or give --name for a new study."
        ) from None
    except OSError as error:
        raise SearchError(f"The study {study!r} needs the folder {str(folder)!r}: {error.strerror}. Give --name for another one.") from None
    with held:
        (folder / HOLDER).write_text(json.dumps({"host": socket.gethostname(), "process": os.getpid(), "since": now()}) + "\n")
        try:
            yield
        finally:
            (folder / HOLDER).unlink(missing_ok=True)


def _holder(folder: Path) -> str:
    try:
        about = json.loads((folder / HOLDER).read_text())
        return f"process {about['process']} on {about['host']}, since {about['since']}"
    except (OSError, ValueError, LookupError, TypeError):  # it has only just begun
        return "it began this very moment"
