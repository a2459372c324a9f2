"""One run at a time in a study's folder; and, where the storage is a server that other machines see too, one that ends
the study.
"""

import json
import os
import socket
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import filelock
import psutil
from optuna.storages import RDBStorage

from search.errors import AnotherRunError, SearchError
from search.storage.opening import database_file
from search.storage.own_trials import OwnTrials
from search.study.environment import now
from search.study.holder import is_mine, is_numbered_here, mine
from search.study.records import Holder
from search.study.study import Study

RUN = "run"
ABOUT = f"{RUN}.json"  # who holds RUN.lock
UNSEEN_SECONDS = (
    120.0  # after which a run on another machine is taken for dead; it shows itself every few seconds while it trains
)


@contextmanager
def sole_run(folder: Path, study: str, storage: RDBStorage | None = None) -> Iterator[None]:
    """Within, no other run works on the study whose folder this is; nor, where the storage is a file, on that study in
    that file.

    The operating system frees the locks when their process dies, however it dies: one that is left over holds nobody
    up.
    Raises: SearchError where another run is at work, with its host and process. StorageLostError.
    """
    file = OwnTrials(storage).patiently(partial(database_file, storage)) if storage else None
    with ExitStack() as locks:
        if file:  # first, so that a run in another folder that is refused leaves none of its own
            step = "It must be writable and have room: see to it, or name another place with --storage."
            # No study has an @ in its name, so that those of one file, or of two files side by side, never have the
            # same lock.
            locks.enter_context(_locked(Path(f"{file}-{RUN}@{study}"), study, step))
        locks.enter_context(_locked(folder / RUN, study, "Give --name for another one."))
        yield


@contextmanager
def _locked(path: Path, study: str, step: str) -> Iterator[None]:
    """Within, the file `path`.lock is this process's, and `path`.json says so."""
    about = Path(f"{path}.json")
    with ExitStack() as ends:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            ends.enter_context(filelock.FileLock(f"{path}.lock").acquire(timeout=0))
            ends.callback(_take_away, about)
            about.write_text(json.dumps({"host": socket.gethostname(), "process": os.getpid(), "since": now()}) + "\n")
        except filelock.Timeout:
            told = (
                f"Another run is at work on the study {study!r}: {_holder(about)}. Wait for it, or give --name for "
                "a new study."
            )
            raise SearchError(told) from None
        except OSError as error:
            raise SearchError(
                f"The study {study!r} needs the folder {str(path.parent)!r}: {error.strerror}. {step}"
            ) from None
        yield


def _take_away(about: Path) -> None:
    with suppress(
        OSError
    ):  # the disk is gone or read-only: that is told elsewhere, and without its lock the note says nothing
        about.unlink(missing_ok=True)


@contextmanager
def noted_run(study: Study) -> Iterator[None]:
    """Within, the storage says that this run brings the study to its end; `timed` refreshes the note.

    Raises: AnotherRunError where another one does, with its host and process.
    """
    with study.alone():
        if ends := who_ends(study):
            raise AnotherRunError(f"The search is over: {at_work([ends])}, brings the study to its end.")
        this = mine()
        study.write(this)
    try:
        yield
    finally:
        study.write(mine(since=this.since, is_over=True))


def require_nobody_ends(study: Study) -> None:
    """No other run brings the study to its end.

    Raises: SearchError with its host and process.
    """
    if ends := who_ends(study):
        raise SearchError(
            f"Another run is at work on the study {study.name!r}: {at_work([ends])}. Wait for it, or give --name for a "
            "new study. "
            f"If it was killed, its hold ends in {_seconds_until_dead(ends):.0f} s."
        )


def who_ends(study: Study) -> Holder | None:
    """The other run that brings the study to its end, if one does. One that was not seen for a while is dead."""
    kept = study.read(Holder)
    return kept if kept and is_alive(kept) else None


def is_alive(holder: Holder) -> bool:
    """Whether that run, which is another one, is at work, as far as is known here."""
    if holder.is_over or is_mine(holder):
        return False
    # A container that was started again may have the number that its process had before.
    if is_numbered_here(holder) and (holder.process == os.getpid() or not psutil.pid_exists(holder.process)):
        return False
    return _seconds_until_dead(holder) > 0


def at_work(holders: Iterable[Holder]) -> str:
    """Who they are, in words."""
    return "; ".join(f"process {holder.process} on {holder.host}, since {holder.since}" for holder in holders)


def _seconds_until_dead(holder: Holder) -> float:
    return UNSEEN_SECONDS - (datetime.now(UTC) - datetime.fromisoformat(holder.seen)).total_seconds()


def _holder(path: Path) -> str:
    try:
        about = json.loads(path.read_text())
        return f"process {about['process']} on {about['host']}, since {about['since']}"
    except (OSError, ValueError, LookupError, TypeError):  # it has only just begun
        return "it began this very moment"
