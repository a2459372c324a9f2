"""Sharing of trials between runs on a database server: each running trial has an owner, and a lock guards the budget.

Other runs may take over the trials of a run that was stopped or disconnected. So the owner is stored in the database,
and checked in the transaction of every write to a trial.
"""

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock
from optuna.storages import RDBStorage
from optuna.trial import TrialState
from sqlalchemy import Connection, Engine, delete, event, func, insert, select, text
from sqlalchemy.exc import IntegrityError, SQLAlchemyError
from sqlalchemy.orm import Session

from search.storage.optuna_private import (
    NOT_FOUND_MSG,
    StudyModel,
    TrialModel,
    TrialSystemAttributeModel,
    TrialUserAttributeModel,
    create_scoped_session,
)
from search.storage.trial_record import CONFIG, EARLIER

OWNER = "fmnist-search:coordinator"  # a trial's system attribute: the id of the run that owns or owned it
LOCK_SECONDS = 60  # that a run waits for the lock of another run
HELD_SECONDS = 30  # after which an idle lock or transaction is lost: its run was stopped, and would block all others
ALL = tuple(TrialState)
ENDED = tuple(state for state in TrialState if state.is_finished())
BEGUN = tuple(state for state in TrialState if state != TrialState.WAITING)


class TakenOverError(Exception):
    """Another run took the trial over, because this run had not refreshed its record for a while."""

    def __init__(self, trial_id: int) -> None:
        super().__init__(f"The trial with the id {trial_id} belongs to another run.")
        self.trial_id = trial_id


class NoRoomError(Exception):
    """All trials of the budget are finished, running or waiting."""


@dataclass(frozen=True)
class Share:
    """A run's share of a study: the owner id of its trials, and the budget of all runs."""

    owner: str
    budget: int
    uncounted: str | None = None  # the user attribute of trials that the budget does not count

    def has_room(self, session: Session, study_id: int, states: Sequence[TrialState]) -> bool:
        """Whether fewer trials than the budget are in these states."""
        count_query = _count_query(study_id, states)
        count = session.execute(count_query).scalar_one()
        if self.uncounted and count >= self.budget:
            uncounted_query = count_query.join(TrialUserAttributeModel).where(
                TrialUserAttributeModel.key == self.uncounted
            )
            count -= session.execute(uncounted_query).scalar_one()
        if count >= self.budget:
            count -= session.execute(_foreign_count_query(study_id)).scalar_one()
        return bool(count < self.budget)

    def require_room(self, session: Session, study_id: int) -> None:
        """Raise NoRoomError if the budget is used up."""
        if not self.has_room(session, study_id, ALL):
            raise NoRoomError

    def require_own(self, session: Session, trial_id: int) -> None:
        """Require that this run owns the trial, until the session's transaction ends. Raises: TakenOverError."""
        if state_and_owner(session, trial_id) != (TrialState.RUNNING, self.owner):
            raise TakenOverError(trial_id)

    def claim(self, session: Session, study_id: int, trial_id: int) -> bool:
        """Take the waiting trial; return False if another run was faster, or the budget is used up."""
        lock_study(session, study_id)
        state, _ = state_and_owner(session, trial_id)
        if state != TrialState.WAITING or not self.has_room(session, study_id, BEGUN):
            return False
        self.sign(session, trial_id)
        return True

    def sign(self, session: Session, trial_id: int) -> None:
        """Record this run as the trial's owner."""
        table = TrialSystemAttributeModel
        session.execute(delete(table).where(table.trial_id == trial_id, table.key == OWNER))
        session.execute(insert(table), [{"trial_id": trial_id, "key": OWNER, "value_json": json.dumps(self.owner)}])


def _count_query(study_id: int, states: Sequence[TrialState]) -> Any:
    return (
        select(func.count())
        .select_from(TrialModel)
        .where(TrialModel.study_id == study_id, TrialModel.state.in_(states))
    )


def _foreign_count_query(study_id: int) -> Any:
    """Count the trials that have ended without a configuration; refused trials have one."""
    query = _count_query(study_id, ENDED)
    for table, key in ((TrialSystemAttributeModel, CONFIG), (TrialUserAttributeModel, EARLIER[CONFIG])):
        configured = select(table.trial_id).where(table.trial_id == TrialModel.trial_id, table.key == key)
        query = query.where(~configured.exists())
    return query


def is_missing_row(error: KeyError | IntegrityError) -> bool:
    """Whether the error says that the study or trial is no longer in the database."""
    return NOT_FOUND_MSG in error.args if isinstance(error, KeyError) else "foreign key" in str(error).lower()


def lock_study(session: Session, study_id: int) -> None:
    """Keep other runs from starting a trial until the session's transaction ends."""
    StudyModel.find_or_raise_by_id(study_id, session, for_update=True)


def state_and_owner(session: Session, trial_id: int) -> tuple[TrialState, str | None]:
    """Return the trial's state and its owner, if any, and lock both until the session's transaction ends."""
    trial: Any = TrialModel.find_or_raise_by_id(trial_id, session, for_update=True)
    table = TrialSystemAttributeModel
    owner_json = session.execute(
        select(table.value_json).where(table.trial_id == trial_id, table.key == OWNER)
    ).scalar_one_or_none()
    return trial.state, None if owner_json is None else str(json.loads(owner_json))


def release_trial(backend: RDBStorage, trial_id: int, owner: str | None) -> bool:
    """Set the running trial of the run `owner` to waiting; return False if it has ended or has another owner by now."""
    with create_scoped_session(backend.scoped_session) as session:
        if state_and_owner(session, trial_id) != (TrialState.RUNNING, owner):
            return False
        return backend.set_trial_state_values(trial_id, TrialState.WAITING)


def end_idle_transactions(engine: Engine) -> None:
    """Let the server close connections of `engine` that are idle in a transaction, whose rows would stay locked."""
    if engine.name == "sqlite":
        return
    if engine.name == "postgresql":
        setting = f"SET SESSION idle_in_transaction_session_timeout = '{HELD_SECONDS:.0f}s'"
    else:  # MySQL closes all idle connections; the pool replaces them
        setting = f"SET SESSION wait_timeout = {HELD_SECONDS:.0f}"

    @event.listens_for(engine, "connect")
    def set_up(connection: Any, _record: Any) -> None:
        with closing(connection.cursor()) as cursor:
            cursor.execute(setting)
        connection.commit()

    engine.dispose()  # connections that were opened before


@contextmanager
def locked(engine: Engine, name: str) -> Iterator[None]:
    """Exclude other runs on the server from blocks of that name; a SQLite file has only one run at a time.

    It is not a row lock, because writes inside the block use other connections.
    """
    if engine.name == "sqlite":
        yield
        return
    key = hashlib.sha256(f"{engine.url.database}/{name}".encode()).digest()
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        _lock(connection, key)
        try:
            yield
        finally:
            with suppress(SQLAlchemyError):  # a lost connection has lost its lock
                _unlock(connection, key)


def _lock(connection: Connection, key: bytes) -> None:
    if connection.engine.name == "postgresql":
        _end_when_idle(connection, f"{HELD_SECONDS * 1000:.0f}")
        connection.execute(text(f"SET lock_timeout = '{LOCK_SECONDS}s'"))
        connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": int.from_bytes(key[:8], signed=True)})
        connection.execute(text("SET lock_timeout = DEFAULT"))
        return
    connection.execute(text(f"SET SESSION wait_timeout = {HELD_SECONDS:.0f}"))
    if (
        connection.execute(text("SELECT GET_LOCK(:key, :wait)"), {"key": key.hex(), "wait": LOCK_SECONDS}).scalar_one()
        != 1
    ):
        raise SQLAlchemyError("the lock of the study was not granted")


def _unlock(connection: Connection, key: bytes) -> None:
    if connection.engine.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": int.from_bytes(key[:8], signed=True)})
        _end_when_idle(connection, "0")
    else:
        connection.execute(text("SELECT RELEASE_LOCK(:key)"), {"key": key.hex()})


def _end_when_idle(connection: Connection, milliseconds: str) -> None:
    setting = "SELECT FROM pg_settings WHERE name = 'idle_session_timeout'"  # since PostgreSQL 14
    connection.execute(
        text(f"SELECT set_config('idle_session_timeout', :time, false) WHERE EXISTS ({setting})"),
        {"time": milliseconds},
    )


@contextmanager
def opening_alone(path: Path | None) -> Iterator[None]:
    """Keep other processes from opening the same file at the same time: one may be about to create its tables.

    The lock is in the temporary folder: beside the file it would have to stay for ever.
    """
    if path is None:
        yield
        return
    owner = os.getuid() if hasattr(os, "getuid") else 0  # another's file could not be opened
    name = hashlib.blake2b(f"{owner} {path.absolute()}".encode(), digest_size=8).hexdigest()
    with FileLock(Path(tempfile.gettempdir()) / f"fmnist-search-{name}.lock"):
        yield
