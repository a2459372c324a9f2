"""Writes of a study as data, so that they can wait in a journal; carried out so that twice is the same as once."""

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
    """The write of a trial's parameter; the value is as Optuna stores it."""
    return Operation("set_trial_param", (trial_id, name, value, distribution_to_json(distribution)))


def state_and_values(trial_id: int, state: TrialState, values: Sequence[float] | None, at: datetime) -> Operation:
    """The write of a trial's end, or of its return to those that wait."""
    return Operation(
        "set_trial_state_values", (trial_id, state.name, None if values is None else list(values), at.isoformat())
    )


def perform(operation: Operation, backend: RDBStorage) -> None:
    """The write stands in the database, now or from before; that of a trial that is another run's by now is dropped."""
    # What has ended had every earlier write too: operations are carried out in their order.
    with suppress(UpdateFinishedTrialError, TakenOverError), _while_its_own(operation, backend):
        match (operation.name, operation.arguments):
            case ("set_trial_param", (trial_id, name, value, distribution)):
                # As its own predecessor: a parameter of that name of another program's trial says nothing of this one.
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
    """The id of the trial that is written; None where the study itself is."""
    return int(operation.arguments[0]) if operation.name.startswith("set_trial_") else None


@contextmanager
def _while_its_own(operation: Operation, backend: RDBStorage) -> Iterator[None]:
    if operation.owner is None or (trial_id := trial_of(operation)) is None:
        yield
        return
    # Optuna's own session within is this one, for a thread has one: whose the trial is stays so until it is written.
    with create_scoped_session(backend.scoped_session) as session:
        if holder_of(session, trial_id)[1] != operation.owner:
            raise TakenOverError(trial_id)
        yield


def _append(backend: RDBStorage, study_id: int, key: str, entry: dict[str, Any]) -> None:
    table = StudyUserAttributeModel
    here = (table.study_id == study_id, table.key == key)
    with create_scoped_session(backend.scoped_session) as session:
        # A write, and the first statement: on every database it holds off others that append until the transaction
        # ends.
        session.execute(update(StudyModel).where(StudyModel.study_id == study_id).values(study_id=study_id))
        StudyModel.find_or_raise_by_id(study_id, session)
        kept = session.execute(select(table.value_json).where(*here)).scalar_one_or_none()
        entries = [] if kept is None else json.loads(kept)
        if entry["id"] in {each.get("id") for each in entries}:
            return
        whole = json.dumps([*entries, entry])
        if kept is None:
            session.execute(insert(table), [{"study_id": study_id, "key": key, "value_json": whole}])
        else:
            session.execute(update(table).where(*here).values(value_json=whole))


def _set_state(
    backend: RDBStorage, trial_id: int, state: TrialState, values: Sequence[float] | None, at: datetime
) -> None:
    backend.set_trial_state_values(trial_id, state, values)
    if state.is_finished():  # when it happened, not when the storage came back
        with create_scoped_session(backend.scoped_session) as session:
            model: Any = TrialModel.find_or_raise_by_id(trial_id, session)
            model.datetime_complete = at
