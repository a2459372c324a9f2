"""One run at a time in a study's folder; and, where the storage is a server that other machines see too, one that ends the study."""

import json
import os
import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import filelock
import optuna
import psutil

from search.environment import now
from search.errors import AnotherRunError, SearchError
from search.records import Holder
from search.study import HOLDER, alone, is_mine, mine, read, write

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
    """Within, the storage says that this run brings the study to its end; `timed` refreshes the note.

    Raises: AnotherRunError where another one does, with its host and process.
    """
    with alone(study):
        if ends := who_ends(study):
            raise AnotherRunError(f"The search is over: {at_work([ends])}, brings the study to its end.")
        this = mine()
        write(study, HOLDER, this)
    try:
        yield
    finally:
        write(study, HOLDER, mine(since=this.since, is_over=True))


def require_nobody_ends(study: optuna.Study) -> None:
    """No other run brings the study to its end.

    Raises: SearchError with its host and process.
    """
    if ends := who_ends(study):
        raise SearchError(
            f"Another run is at work on the study {study.study_name!r}: {at_work([ends])}. Wait for it, or give --name for a new study. "
            f"If it was killed, its hold ends in {_seconds_until_dead(ends):.0f} s."
        )


def who_ends(study: optuna.Study) -> Holder | None:
    """The other run that brings the study to its end, if one does. One that was not seen for a while is dead."""
    kept = read(study, HOLDER, Holder)
    return kept if kept and is_alive(kept) else None


def is_alive(holder: Holder) -> bool:
    """Whether that run, which is another one, is at work, as far as is known here."""
    # A container that was started again has the host's name and the process's number of the one before.
    if holder.is_over or is_mine(holder) or (holder.host == socket.gethostname() and not psutil.pid_exists(holder.process)):
        return False
    return _seconds_until_dead(holder) > 0


def at_work(holders: Iterable[Holder]) -> str:
    """Who they are, in words."""
    return "; ".join(f"process {holder.process} on {holder.host}, since {holder.since}" for holder in holders)


def _seconds_until_dead(holder: Holder) -> float:
    return UNSEEN_SECONDS - (datetime.now(UTC) - datetime.fromisoformat(holder.seen)).total_seconds()


def _holder(folder: Path) -> str:
    try:
        about = json.loads((folder / ABOUT).read_text())
        return f"process {about['process']} on {about['host']}, since {about['since']}"
    except (OSError, ValueError, LookupError, TypeError):  # it has only just begun
        return "it began this very moment"
