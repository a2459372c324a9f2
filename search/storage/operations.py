"""Writes of a study as data, which can wait in a journal. All operations are idempotent."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import Any

from optuna.distributions import BaseDistribution, distribution_to_json, json_to_distribution
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import RDBStorage
from optuna.trial import TrialState
from sqlalchemy import insert, select, update

from search.storage.journal import Operation
from search.storage.optuna_private import StudyModel, StudyUserAttributeModel, TrialModel, create_scoped_session
from search.storage.sharing import TakenOverError, holder_of


def parameter(trial_id: int, name: str, value: float, distribution: BaseDistribution) -> Operation:
    """Return the write of a trial's parameter, with the value as Optuna stores it."""
    return Operation("set_trial_param", (trial_id, name, value, distribution_to_json(distribution)))


def state_and_values(trial_id: int, state: TrialState, values: Sequence[float] | None, at: datetime) -> Operation:
    """Return the write of a trial's end, or of its return to the waiting trials."""
    return Operation(
        "set_trial_state_values", (trial_id, state.name, None if values is None else list(values), at.isoformat())
    )


def perform(operation: Operation, backend: RDBStorage) -> None:
    """Write the operation to the database unless it is already there; skip it if another run owns the trial by now."""
    # A trial that has ended has all earlier writes too, because operations are performed in order.
    with suppress(UpdateFinishedTrialError, TakenOverError), _while_its_own(operation, backend):
        match (operation.name, operation.arguments):
            case ("set_trial_param", (trial_id, name, value, distribution)):
                # Compatible with itself: the check against the study's other trials may fail on another program's.
                kind = json_to_distribution(distribution)
                backend._set_trial_param(trial_id, name, value, kind, kind)
            case ("append_study_user_attr", (study_id, key, entry)):
                _append(backend, study_id, key, entry)
            case ("set_trial_state_values", (trial_id, state, values, at)):
                _set_state(backend, trial_id, TrialState[state], values, datetime.fromisoformat(at))
            case (
                "set_trial_intermediate_value"
                | "set_trial_user_attr"
                | "set_trial_system_attr"
                | "set_study_user_attr"
                | "set_study_system_attr" as name,
                arguments,
            ):
                getattr(backend, name)(*arguments)
            case _:
                raise ValueError(f"There is no operation {operation.name!r} with {len(operation.arguments)} arguments.")


def trial_of(operation: Operation) -> int | None:
    """Return the id of the trial that is written, or None if the study itself is."""
    return int(operation.arguments[0]) if operation.name.startswith("set_trial_") else None


@contextmanager
def _while_its_own(operation: Operation, backend: RDBStorage) -> Iterator[None]:
    if operation.owner is None or (trial_id := trial_of(operation)) is None:
        yield
        return
    # Optuna uses this same session inside, because a thread has only one: the owner cannot change before the write.
    with create_scoped_session(backend.scoped_session) as session:
        if holder_of(session, trial_id)[1] != operation.owner:
            raise TakenOverError(trial_id)
        yield


def _append(backend: RDBStorage, study_id: int, key: str, entry: dict[str, Any]) -> None:
    table = StudyUserAttributeModel
    row = (table.study_id == study_id, table.key == key)
    with create_scoped_session(backend.scoped_session) as session:
        # The first statement is a write, which on every database blocks others that append until the transaction ends.
        session.execute(update(StudyModel).where(StudyModel.study_id == study_id).values(study_id=study_id))
        StudyModel.find_or_raise_by_id(study_id, session)
        old_json = session.execute(select(table.value_json).where(*row)).scalar_one_or_none()
        entries = [] if old_json is None else json.loads(old_json)
        if entry["id"] in {old_entry.get("id") for old_entry in entries}:
            return
        new_json = json.dumps([*entries, entry])
        if old_json is None:
            session.execute(insert(table), [{"study_id": study_id, "key": key, "value_json": new_json}])
        else:
            session.execute(update(table).where(*row).values(value_json=new_json))


def _set_state(
    backend: RDBStorage, trial_id: int, state: TrialState, values: Sequence[float] | None, at: datetime
) -> None:
    backend.set_trial_state_values(trial_id, state, values)
    if state.is_finished():  # the time of the end, not of this write
        with create_scoped_session(backend.scoped_session) as session:
            model: Any = TrialModel.find_or_raise_by_id(trial_id, session)
            model.datetime_complete = at
