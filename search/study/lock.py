"""Locks: one run at a time in a study's folder, and one run that ends a study on a server shared by machines."""

import json
import os
import socket
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

import filelock
import psutil

from search.errors import AnotherRunError, SearchError
from search.storage.own_trials import OwnTrials
from search.study.environment import now
from search.study.holder import Holder, is_numbered_here, is_this_process, this_process
from search.study.study import Study

RUN = "run"
ABOUT = f"{RUN}.json"  # describes the process that holds run.lock
WAIT = "Wait for it, or give --name for a new study."
UNSEEN_SECONDS = 120.0  # without a refresh, after which a run on another machine is treated as dead


@contextmanager
def sole_run(folder: Path, study: str, storage: OwnTrials | None = None) -> Iterator[None]:
    """Lock the study's folder, and if the storage is a file, the study in it, against other runs.

    The operating system frees the locks when their process dies, so a lock file that is left over blocks nobody.

    Raises: SearchError if another run is at work, with its host and process. StorageLostError.
    """
    file = storage.database_file() if storage else None
    with ExitStack() as locks:
        if file:  # first, so that a refused run in another folder leaves no lock there
            step = "It must be writable and have free space. Give another path with --storage."
            locks.enter_context(_locked(lock_beside(file, study), study, step))
        locks.enter_context(_locked(folder / RUN, study, "Give --name for another one."))
        yield


@contextmanager
def sole_change(folder: Path | None, study: str, storage: OwnTrials) -> Iterator[None]:
    """Lock the study's folder, if it has one, and if the storage is a file, the study in it, to delete or rename it.

    Raises: SearchError if a run is at work on the study, with its host and process. StorageLostError.
    """
    step, wait = "It must be writable.", "Wait for it, or end it."
    with ExitStack() as locks:
        if file := storage.database_file():
            locks.enter_context(_locked(lock_beside(file, study), study, step, wait))
        if folder:
            locks.enter_context(_locked(folder / RUN, study, step, wait))
        yield


def lock_beside(file: Path, study: str) -> Path:
    """Return the path, without its ending, of the lock of the study in that SQLite file."""
    # Study names have no @, so the locks of two studies or of two files in a folder never have the same name.
    return Path(f"{file}-{RUN}@{study}")


@contextmanager
def _locked(path: Path, study: str, step: str, wait: str = WAIT) -> Iterator[None]:
    """Lock `path`.lock, and describe this process in `path`.json."""
    about = Path(f"{path}.json")
    with ExitStack() as ends:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            ends.enter_context(filelock.FileLock(f"{path}.lock").acquire(timeout=0))
            ends.callback(_delete, about)
            about.write_text(json.dumps({"host": socket.gethostname(), "process": os.getpid(), "since": now()}) + "\n")
        except filelock.Timeout:
            raise SearchError(f"Another run is at work on the study {study!r}: {_holder(about)}. {wait}") from None
        except OSError as error:
            raise SearchError(
                f"The study {study!r} needs the folder {str(path.parent)!r}: {error.strerror}. {step}"
            ) from None
        yield


def _delete(about: Path) -> None:
    with suppress(OSError):  # the disk is gone or read-only, which is reported elsewhere; without a lock it is ignored
        about.unlink(missing_ok=True)


@contextmanager
def noted_run(study: Study) -> Iterator[None]:
    """Record in the storage that this run brings the study to its end; `timed` refreshes the record.

    Raises: AnotherRunError if another run does, with its host and process.
    """
    with study.locked():
        if holder := ending_run(study):
            raise AnotherRunError(f"The search is over: {describe_holders([holder])}, brings the study to its end.")
        this = this_process()
        study.write(this)
    try:
        yield
    finally:
        study.write(this_process(since=this.since, is_over=True))


def require_not_ending(study: Study) -> None:
    """Require that no other run is ending the study.

    Raises: SearchError with its host and process.
    """
    if holder := ending_run(study):
        raise SearchError(
            f"Another run is at work on the study {study.name!r}: {describe_holders([holder])}. Wait for it, or give "
            f"--name for a new study. If it was killed, its hold ends in {_seconds_until_dead(holder):.0f} s."
        )


def ending_run(study: Study) -> Holder | None:
    """Return the other run that is ending the study, or None if there is none alive."""
    holder = study.read(Holder)
    return holder if holder and is_alive(holder) else None


def is_alive(holder: Holder) -> bool:
    """Whether the holder is another run that is at work, as far as can be told from here."""
    if holder.is_over or is_this_process(holder):
        return False
    # In a restarted container, this process may have the id that the holder had.
    if is_numbered_here(holder) and (holder.process == os.getpid() or not psutil.pid_exists(holder.process)):
        return False
    return _seconds_until_dead(holder) > 0


def describe_holders(holders: Iterable[Holder]) -> str:
    """Return a description of the holders for a message."""
    return "; ".join(f"process {holder.process} on {holder.host}, since {holder.since}" for holder in holders)


def _seconds_until_dead(holder: Holder) -> float:
    return UNSEEN_SECONDS - (datetime.now(UTC) - datetime.fromisoformat(holder.seen)).total_seconds()


def _holder(path: Path) -> str:
    try:
        about = json.loads(path.read_text())
        return f"process {about['process']} on {about['host']}, since {about['since']}"
    except (OSError, ValueError, LookupError, TypeError):  # it has the lock, but has not written the file yet
        return "it has just started"
