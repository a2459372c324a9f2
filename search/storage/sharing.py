"""Trials that several runs share on a database server: each running trial is one run's, and the budget is counted under
a lock.

A run that was away, stopped or cut off, may find its trials in other hands. So whose a trial is stands in the database,
and is asked in the transaction of every write to it.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from optuna.storages import RDBStorage
from optuna.trial import TrialState
from sqlalchemy import Connection, Engine, delete, func, insert, select, text
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
from search.storage.trial_record import CONFIG

OWNER = "fmnist-search:coordinator"  # a trial's system attribute: the id of the run whose it is, or was
LOCK_SECONDS = 60  # that a run waits for another one's lock
HELD_SECONDS = 30  # after which a lock is lost: its run was stopped, and would hold up all others
ALL = tuple(TrialState)
ENDED = tuple(state for state in TrialState if state.is_finished())
BEGUN = tuple(state for state in TrialState if state != TrialState.WAITING)


class TakenOverError(Exception):
    """Another run took the trial over, because this one was not seen for a while."""

    def __init__(self, trial_id: int) -> None:
        super().__init__(f"The trial with the id {trial_id} is another run's.")
        self.trial_id = trial_id


class NoRoomError(Exception):
    """All trials of the budget are finished, running or waiting."""


@dataclass(frozen=True)
class Share:
    """What a run may do with the trials of a study."""

    owner: str
    budget: int
    uncounted: str | None = None  # the user attribute of trials that the budget does not count

    def has_room(self, session: Session, study_id: int, states: Sequence[TrialState]) -> bool:
        """Whether fewer trials than the budget are in one of the states."""
        trials = _number_of(study_id, states)
        count = session.execute(trials).scalar_one()
        if self.uncounted and count >= self.budget:
            marked = trials.join(TrialUserAttributeModel).where(TrialUserAttributeModel.key == self.uncounted)
            count -= session.execute(marked).scalar_one()
        if count >= self.budget:
            count -= session.execute(_number_of_foreign(study_id)).scalar_one()
        return bool(count < self.budget)

    def require_room(self, session: Session, study_id: int) -> None:
        """Raises: NoRoomError."""
        if not self.has_room(session, study_id, ALL):
            raise NoRoomError

    def require_own(self, session: Session, trial_id: int) -> None:
        """The trial is this run's until the session's transaction ends. Raises: TakenOverError."""
        if holder_of(session, trial_id) != (TrialState.RUNNING, self.owner):
            raise TakenOverError(trial_id)

    def claim(self, session: Session, study_id: int, trial_id: int) -> bool:
        """The waiting trial is this run's and may begin, unless another run was faster, or the budget is used up."""
        lock_study(session, study_id)
        state, _ = holder_of(session, trial_id)
        if state != TrialState.WAITING or not self.has_room(session, study_id, BEGUN):
            return False
        self.sign(session, trial_id)
        return True

    def sign(self, session: Session, trial_id: int) -> None:
        """The trial is noted as this run's."""
        table = TrialSystemAttributeModel
        session.execute(delete(table).where(table.trial_id == trial_id, table.key == OWNER))
        session.execute(insert(table), [{"trial_id": trial_id, "key": OWNER, "value_json": json.dumps(self.owner)}])


def _number_of(study_id: int, states: Sequence[TrialState]) -> Any:
    return (
        select(func.count())
        .select_from(TrialModel)
        .where(TrialModel.study_id == study_id, TrialModel.state.in_(states))
    )


def _number_of_foreign(study_id: int) -> Any:
    """Trials that have ended without a configuration; those that were refused have one."""
    table = TrialUserAttributeModel
    trained = select(table.trial_id).where(table.trial_id == TrialModel.trial_id, table.key == CONFIG)
    return _number_of(study_id, ENDED).where(~trained.exists())


def is_of_what_is_gone(error: KeyError | IntegrityError) -> bool:
    """Whether the study or trial that was asked for, or written to, is not in the database any more."""
    return NOT_FOUND_MSG in error.args if isinstance(error, KeyError) else "foreign key" in str(error).lower()


def lock_study(session: Session, study_id: int) -> None:
    """Until the session's transaction ends, no other run begins a trial."""
    StudyModel.find_or_raise_by_id(study_id, session, for_update=True)


def holder_of(session: Session, trial_id: int) -> tuple[TrialState, str | None]:
    """The trial's state and the run whose it is or was; both stay so until the session's transaction ends."""
    trial: Any = TrialModel.find_or_raise_by_id(trial_id, session, for_update=True)
    table = TrialSystemAttributeModel
    kept = session.execute(
        select(table.value_json).where(table.trial_id == trial_id, table.key == OWNER)
    ).scalar_one_or_none()
    return trial.state, None if kept is None else str(json.loads(kept))


def let_go(backend: RDBStorage, trial_id: int, owner: str | None) -> bool:
    """The running trial of the run `owner` waits for the next one; false where it has ended or changed hands
    meanwhile.
    """
    with create_scoped_session(backend.scoped_session) as session:
        if holder_of(session, trial_id) != (TrialState.RUNNING, owner):
            return False
        return backend.set_trial_state_values(trial_id, TrialState.WAITING)


@contextmanager
def held(engine: Engine, name: str) -> Iterator[None]:
    """Within, no other run on the server is in a block of that name; a SQLite file needs none, for it has one run at a
    time.

    It is no lock of a row: what is written within goes over other connections.
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
            with suppress(SQLAlchemyError):  # a connection that is lost has lost its lock
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
        raise SQLAlchemyError("the lock of the study was not given")


def _unlock(connection: Connection, key: bytes) -> None:
    if connection.engine.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": int.from_bytes(key[:8], signed=True)})
        _end_when_idle(connection, "0")
    else:
        connection.execute(text("SELECT RELEASE_LOCK(:key)"), {"key": key.hex()})
        connection.execute(text("SET SESSION wait_timeout = DEFAULT"))


def _end_when_idle(connection: Connection, milliseconds: str) -> None:
    known = "SELECT FROM pg_settings WHERE name = 'idle_session_timeout'"  # from PostgreSQL 14 on
    connection.execute(
        text(f"SELECT set_config('idle_session_timeout', :time, false) WHERE EXISTS ({known})"), {"time": milliseconds}
    )
