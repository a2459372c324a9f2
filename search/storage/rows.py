"""Write rows of Optuna's tables without the queries that Optuna makes before each write."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from optuna.distributions import BaseDistribution, distribution_to_json
from optuna.storages import RDBStorage
from sqlalchemy import delete, insert, select, update
from sqlalchemy.orm import Session

from search.storage.optuna_private import (
    StudyModel,
    StudySystemAttributeModel,
    StudyUserAttributeModel,
    TrialParamModel,
    TrialSystemAttributeModel,
    TrialUserAttributeModel,
    create_scoped_session,
)
from search.storage.trial_record import LONG


def put_row(session: Session, table: Any, row: dict[str, Any], replaces: Sequence[str]) -> None:
    """Insert the row; first delete the row with the same values in the columns `replaces`, if any are named."""
    if replaces:
        session.execute(delete(table).where(*(getattr(table, name) == row[name] for name in replaces)))
    session.execute(insert(table), [row])


def put_parameters(
    session: Session, trial_id: int, parameters: Mapping[str, tuple[float, BaseDistribution]], *, replace: bool
) -> None:
    """Insert the trial's parameters, or replace them. Optuna's check against another program's trial could fail."""
    for name, (value, distribution) in parameters.items():
        distribution_json = distribution_to_json(distribution)
        row = {
            "trial_id": trial_id,
            "param_name": name,
            "param_value": value,
            "distribution_json": distribution_json,
        }
        put_row(session, TrialParamModel, row, ("trial_id", "param_name") if replace else ())


def append_entry(backend: RDBStorage, study_id: int, key: str, entry: dict[str, Any]) -> None:
    """Append the entry to the list in the study's user attribute, unless an entry with its "id" is there."""
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


def rename_study(
    backend: RDBStorage,
    study_id: int,
    name: str,
    user_attributes: Mapping[tuple[int, str], Any],
    system_attributes: Mapping[str, Any],
) -> None:
    """Give the study another name, and put the attributes that hold it, in one transaction.

    Args:
        user_attributes: Study id and key -> the value that replaces the present one.
        system_attributes: Key -> the value; None deletes the attribute.
    """
    with create_scoped_session(backend.scoped_session) as session:
        session.execute(update(StudyModel).where(StudyModel.study_id == study_id).values(study_name=name))
        StudyModel.find_or_raise_by_id(study_id, session)
        for (owner, key), value in user_attributes.items():
            _put_or_delete(session, StudyUserAttributeModel, {"study_id": owner, "key": key}, value)
        for key, value in system_attributes.items():
            _put_or_delete(session, StudySystemAttributeModel, {"study_id": study_id, "key": key}, value)


def change_trials(
    backend: RDBStorage,
    study_id: int,
    parameters: Mapping[int, Mapping[str, tuple[float, BaseDistribution]]],
    trial_attributes: Mapping[tuple[int, str], Any],
    study_attributes: Mapping[str, Any],
) -> None:
    """Replace parameters of ended or waiting trials, and attributes, in one transaction.

    Args:
        parameters: Trial id -> all of its parameters.
        trial_attributes: Trial id and key -> the value; None deletes it. A key with LONG is a system attribute.
        study_attributes: Key -> the value; None deletes the user attribute.
    """
    with create_scoped_session(backend.scoped_session) as session:
        session.execute(update(StudyModel).where(StudyModel.study_id == study_id).values(study_id=study_id))
        StudyModel.find_or_raise_by_id(study_id, session)
        for trial_id, named in parameters.items():
            session.execute(delete(TrialParamModel).where(TrialParamModel.trial_id == trial_id))
            put_parameters(session, trial_id, named, replace=False)
        for (trial_id, key), value in trial_attributes.items():
            table = TrialSystemAttributeModel if key.startswith(LONG) else TrialUserAttributeModel
            _put_or_delete(session, table, {"trial_id": trial_id, "key": key}, value)
        for key, value in study_attributes.items():
            _put_or_delete(session, StudyUserAttributeModel, {"study_id": study_id, "key": key}, value)


def _put_or_delete(session: Session, table: Any, row: dict[str, Any], value: Any) -> None:
    session.execute(delete(table).where(*(getattr(table, name) == part for name, part in row.items())))
    if value is not None:
        session.execute(insert(table), [row | {"value_json": json.dumps(value)}])
