"""Waiting for a storage that does not answer: locked, full, read-only, or a server that is away."""

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
_READ_ONLY = "25006"  # SQLSTATE of a server that only reads, as a standby does until it takes over

T = TypeVar("T")


@dataclass(frozen=True)
class Fault:
    """Why a storage did not do what it was asked. One that `passes` may be gone a moment later."""

    reason: str
    passes: bool


class StorageAwayError(Exception):
    """The storage did not answer, and waiting is over. The message is the reason."""


@dataclass
class Patience:
    """How long a storage that does not answer is asked again, and who is told. The clock and the sleep are for
    tests.
    """

    seconds: float = field(default_factory=lambda: SECONDS)
    announce: Callable[[str], None] = lambda _: None
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic

    def attempt(self, first: Callable[[], T], again: Callable[[], T], failed: Callable[[], None]) -> T:
        """What `first` returned or, where it failed, `again`, which is tried until it does. `failed` is called after
        each failure.

        Raises: StorageAwayError after `seconds`, or at once where waiting cannot help. Errors that are not the
        storage's pass.
        """
        start, pause, work, is_announced = self.clock(), FIRST_PAUSE, first, False
        while True:
            try:
                result = work()
            except (SQLAlchemyError, StorageInternalError) as error:
                if (fault := fault_of(error)) is None:
                    raise
                failed()
                left = self.seconds - (self.clock() - start)
                if not fault.passes or left <= 0:
                    raise StorageAwayError(fault.reason) from error
                if not is_announced:
                    limit = duration(self.seconds).removesuffix(" 00 s")
                    self.announce(
                        f"The storage does not answer: {fault.reason}. Waiting up to {limit}; the trainings go on."
                    )
                self.sleep(min(pause, left))
                pause, work, is_announced = min(2 * pause, LONGEST_PAUSE), again, True
            else:
                if is_announced:
                    self.announce(f"The storage answers again after {duration(self.clock() - start)}; nothing is lost.")
                return result


def fault_of(error: BaseException) -> Fault | None:
    """The fault of the storage behind an error; None where the error has another cause, such as a wrong value."""
    for each in _causes(error):
        if isinstance(each, DataError | IntegrityError | NotSupportedError):
            return None
        if isinstance(each, DBAPIError):
            return Fault(_reason(each.orig or each), _passes(each))
        if isinstance(each, DisconnectionError | TimeoutError):
            return Fault(_reason(each), passes=True)
        if isinstance(each, sqlite3.DatabaseError):
            return Fault(_reason(each), _is_passing(each))
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
    # A server's other ProgrammingErrors and InternalErrors, such as a table that is not there, stay as they are.
    return (
        error.connection_invalidated
        or isinstance(error, OperationalError | InterfaceError)
        or type(error) is DatabaseError
    )


def _is_passing(error: sqlite3.Error) -> bool:
    # SQLite says "no such table" and "database is locked" with the same class; extended codes have the plain one in
    # their last byte.
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in _PASSING


def _reason(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return masked(lines[0].rstrip(". ") if lines else type(error).__name__)
