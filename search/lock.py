"""One run at a time on a study: a lock in its folder and, where the storage is a server that other machines see too, a note there."""

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import filelock
import optuna
import psutil

from search.environment import now
from search.errors import SearchError
from search.records import Holder
from search.study import HOLDER, read, write

LOCK, ABOUT = "run.lock", "run.json"
UNSEEN_SECONDS = 120.0  # after which a run on another machine is taken for dead; it shows itself every few seconds while it trains


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
        (folder / ABOUT).write_text(json.dumps({"host": socket.gethostname(), "process": os.getpid(), "since": now()}) + "\n")
        try:
            yield
        finally:
            (folder / ABOUT).unlink(missing_ok=True)


@contextmanager
def noted_run(study: optuna.Study) -> Iterator[None]:
    """Within, the storage says which run works on the study; `timed` refreshes the note.

    Raises: SearchError where another run is at work, with its host and process. One that was not seen for a while is dead.
    """
    kept = read(study, HOLDER, Holder)
    if kept and not kept.is_over and (left := _seconds_until_dead(kept)) > 0:
        at_work = f"process {kept.process} on {kept.host}, since {kept.since}"
        raise SearchError(
            f"Another run is at work on the study {study.study_name!r}: {at_work}. Wait for it, or give --name for a new study. "
            f"If it was killed, its hold ends in {left:.0f} s."
        )
    mine = Holder(host=socket.gethostname(), process=os.getpid(), since=now(), seen=now())
    write(study, HOLDER, mine)
    try:
        yield
    finally:
        write(study, HOLDER, mine.model_copy(update={"seen": now(), "is_over": True}))


def _seconds_until_dead(holder: Holder) -> float:
    if holder.host == socket.gethostname() and (holder.process == os.getpid() or not psutil.pid_exists(holder.process)):
        return 0
    return UNSEEN_SECONDS - (datetime.now(UTC) - datetime.fromisoformat(holder.seen)).total_seconds()


def _holder(folder: Path) -> str:
    try:
        about = json.loads((folder / ABOUT).read_text())
        return f"process {about['process']} on {about['host']}, since {about['since']}"
    except (OSError, ValueError, LookupError, TypeError):  # it has only just begun
        return "it began this very moment"
