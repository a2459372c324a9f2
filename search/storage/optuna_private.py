"""Optuna's private names that this project imports, or reads of an object; no other module of `search/` does.

Subclasses in storage/own_trials.py, samplers/tpe.py and samplers/gp.py override more. A release of Optuna may change
all of them without notice: tests/search/storage/test_optuna_private.py detects it.
"""

from pathlib import Path
from typing import Any

import optuna.storages._rdb.storage as rdb
from optuna import Study, Trial
from optuna._transform import _SearchSpaceTransform as SearchSpaceTransform
from optuna.storages import BaseStorage
from optuna.storages._cached_storage import _CachedStorage as CachedStorage
from optuna.storages._cached_storage import _StudyInfo as StudyInfo
from optuna.storages._rdb.models import (
    NOT_FOUND_MSG,
    BaseModel,
    StudyModel,
    StudySystemAttributeModel,
    StudyUserAttributeModel,
    TrialIntermediateValueModel,
    TrialModel,
    TrialParamModel,
    TrialSystemAttributeModel,
    TrialUserAttributeModel,
    TrialValueModel,
)
from optuna.storages._rdb.storage import _create_scoped_session as create_scoped_session
from optuna.study._frozen import FrozenStudy
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import Engine, inspect, text

__all__ = [
    "NOT_FOUND_MSG",
    "OPTUNA_TABLES",
    "CachedStorage",
    "FrozenStudy",
    "SearchSpaceTransform",
    "StudyInfo",
    "StudyModel",
    "StudySystemAttributeModel",
    "StudyUserAttributeModel",
    "TrialIntermediateValueModel",
    "TrialModel",
    "TrialParamModel",
    "TrialSystemAttributeModel",
    "TrialUserAttributeModel",
    "TrialValueModel",
    "VersionManager",
    "begin_new",
    "begin_waiting",
    "create_scoped_session",
    "enqueued_values",
    "pop_waiting",
    "report_value",
    "set_trial_system_attr",
    "storage_of",
    "stored",
    "study_id",
    "trial_id",
    "wait_again",
    "with_id",
]
# Optuna's newest migration of its tables: its file, and the revision that it leads to.
NEWEST_MIGRATION, SCHEMA = "v3.2.0.a_.py", "v3.2.0.a"
OPTUNA_TABLES = {*BaseModel.metadata.tables, "alembic_version"}
ENQUEUED = "fixed_params"  # the system attribute with the values that a trial was enqueued with


class VersionManager(rdb._VersionManager):
    """Optuna's check of a database's tables. Tables of SCHEMA need no Alembic, whose import takes 0.4 s."""

    def check_table_schema_compatibility(self) -> None:
        """Raise RuntimeError if the tables are of another schema than this Optuna's."""
        if not _is_current(self.engine):
            super().check_table_schema_compatibility()

    def _init_alembic(self) -> None:
        if not _is_current(self.engine):
            super()._init_alembic()


rdb._VersionManager = VersionManager  # type: ignore[misc]


def _is_current(engine: Engine) -> bool:
    migrations = (Path(rdb.__file__).parent / "alembic" / "versions").glob("v*.py")
    if max(path.name for path in migrations) != NEWEST_MIGRATION or not inspect(engine).has_table("alembic_version"):
        return False
    with engine.connect() as connection:
        return connection.execute(text("SELECT version_num FROM alembic_version")).scalar() == SCHEMA


def storage_of(study: Study) -> BaseStorage:
    """Return the storage that the study reads and writes."""
    return study._storage


def study_id(study: Study | FrozenStudy) -> int:
    """Return the study's id in its storage."""
    return study._study_id


def trial_id(trial: Trial | FrozenTrial) -> int:
    """Return the trial's id, unique in its storage."""
    return trial._trial_id


def with_id(trial: FrozenTrial, trial_id: int, number: int) -> FrozenTrial:
    """Set the trial's id and number, and return it."""
    trial._trial_id, trial.number = trial_id, number
    return trial


def stored(trial: Trial) -> FrozenTrial:
    """Return the trial as stored."""
    return trial.storage.get_trial(trial._trial_id)


def enqueued_values(trial: FrozenTrial) -> dict[str, Any] | None:
    """Return the parameters that the trial was enqueued with; None if it was not enqueued."""
    return trial.system_attrs.get(ENQUEUED)


def report_value(trial: Trial, value: float, *, step: int) -> None:
    """Report an intermediate value, also in a study of several values, where `Trial.report` is not implemented."""
    if len(trial.study.directions) == 1:
        trial.report(value, step)  # which also keeps it for the pruner
    else:
        trial.storage.set_trial_intermediate_value(trial._trial_id, step, value)


def set_trial_system_attr(trial: Trial, key: str, value: Any) -> None:
    """Write an attribute that optuna-dashboard does not list. `Trial.set_system_attr` is deprecated."""
    trial.storage.set_trial_system_attr(trial._trial_id, key, value)


def wait_again(study: Study, trial: Trial | FrozenTrial) -> None:
    """Put the running trial back: a later ask returns it."""
    study._storage.set_trial_state_values(trial._trial_id, TrialState.WAITING)


def begin_new(study: Study) -> Trial:
    """Create a running trial and return it, even if others are waiting."""
    return Trial(study, study._storage.create_new_trial(study._study_id))


def begin_waiting(study: Study, trial: FrozenTrial) -> Trial | None:
    """Set the waiting trial to running and return it, or None if another process has taken it."""
    was_waiting = study._storage.set_trial_state_values(trial._trial_id, TrialState.RUNNING)
    return Trial(study, trial._trial_id) if was_waiting else None


def pop_waiting(study: Study) -> Trial | None:
    """Set a waiting trial to running and return it, or return None if there is none."""
    trial_id = study._pop_waiting_trial_id()
    return None if trial_id is None else Trial(study, trial_id)
