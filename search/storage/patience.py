"""Retries for a storage that does not answer: locked, full, read-only, or an unavailable server."""

import sqlite3
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TypeVar

from optuna.exceptions import StorageInternalError
from sqlalchemy.exc import (
    DatabaseError,
    DataError,
    DBAPIError,
    DisconnectionError,
    IntegrityError,
    InterfaceError,
    NotSupportedError,
    OperationalError,
    SQLAlchemyError,
    TimeoutError,
)

from search.storage.masking import masked
from search.terminal.wording import duration

SECONDS = 120.0
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0
_PASSING = {
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_INTERRUPT,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_PROTOCOL,
}
_READ_ONLY = "25006"  # SQLSTATE of a read-only server, such as a standby before it takes over

T = TypeVar("T")


@dataclass(frozen=True)
class Fault:
    """Why an operation of a storage failed; `passes` if it may succeed when retried."""

    reason: str
    passes: bool


class StorageAwayError(Exception):
    """The storage did not answer in time. The message is the reason."""


@dataclass
class Patience:
    """Retries operations of a storage for `seconds`, and announces the wait. `sleep` and `clock` are for tests."""

    seconds: float = field(default_factory=lambda: SECONDS)
    announce: Callable[[str], None] = lambda _: None
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic

    def attempt(self, first: Callable[[], T], again: Callable[[], T], failed: Callable[[], None]) -> T:
        """Return the result of `first`, or if it fails of `again`, which is retried; `failed` runs after each failure.

        Raises: StorageAwayError after `seconds`, or at once if waiting cannot help. Errors of other causes propagate.
        """
        start, pause, operation, is_announced = self.clock(), FIRST_PAUSE, first, False
        while True:
            try:
                result = operation()
            except (SQLAlchemyError, StorageInternalError) as error:
                if (fault := fault_of(error)) is None:
                    raise
                failed()
                seconds_left = self.seconds - (self.clock() - start)
                if not fault.passes or seconds_left <= 0:
                    raise StorageAwayError(fault.reason) from error
                if not is_announced:
                    limit = duration(self.seconds).removesuffix(" 00 s")
                    self.announce(
                        f"The storage does not answer: {fault.reason}. Waiting up to {limit}; trainings continue."
                    )
                self.sleep(min(pause, seconds_left))
                pause, operation, is_announced = min(2 * pause, LONGEST_PAUSE), again, True
            else:
                if is_announced:
                    self.announce(f"The storage answers again after {duration(self.clock() - start)}; nothing is lost.")
                return result


def fault_of(error: BaseException) -> Fault | None:
    """Return the storage's fault behind an error; None if the error has another cause, such as a wrong value."""
    for cause in _causes(error):
        if isinstance(cause, DataError | IntegrityError | NotSupportedError):
            return None
        if isinstance(cause, DBAPIError):
            return Fault(_reason(cause.orig or cause), _passes(cause))
        if isinstance(cause, DisconnectionError | TimeoutError):
            return Fault(_reason(cause), passes=True)
        if isinstance(cause, sqlite3.DatabaseError):
            return Fault(_reason(cause), _is_passing(cause))
    return None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _passes(error: DBAPIError) -> bool:
    if isinstance(error.orig, sqlite3.Error):
        return _is_passing(error.orig)
    if getattr(error.orig, "sqlstate", None) == _READ_ONLY:
        return True
    # A server's other ProgrammingErrors and InternalErrors, such as a missing table, do not pass.
    return (
        error.connection_invalidated
        or isinstance(error, OperationalError | InterfaceError)
        or type(error) is DatabaseError
    )


def _is_passing(error: sqlite3.Error) -> bool:
    # "no such table" and "database is locked" have the same class; the last byte of an extended code is the plain code.
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in _PASSING


def _reason(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return masked(lines[0].rstrip(". ") if lines else type(error).__name__)
