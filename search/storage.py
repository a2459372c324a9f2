"""Optuna's storage for a process that alone writes the trials it runs: what it wrote, it need not read again.

Optuna reads a running trial anew, five queries each time, at every suggestion, report and verdict. That was a third of what a trial cost
beside its training (benchmarks/overhead.py).
"""

import copy
import json
from collections.abc import Callable, Sequence
from typing import Any

from optuna.distributions import BaseDistribution, check_distribution_compatibility, distribution_to_json
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import RDBStorage
from optuna.storages._cached_storage import _CachedStorage
from optuna.storages._rdb.models import (
    TrialIntermediateValueModel,
    TrialParamModel,
    TrialSystemAttributeModel,
    TrialUserAttributeModel,
)
from optuna.storages._rdb.storage import _create_scoped_session
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import event, insert


class OwnTrials(_CachedStorage):
    """Keeps the running trials in memory beside the database. Parameters are written together with whatever is written next."""

    def __init__(self, backend: RDBStorage) -> None:
        super().__init__(backend)
        self._running: dict[int, FrozenTrial] = {}
        self._read: set[int] = set()  # studies of which no trial has begun or ended since their trials were read
        self._unwritten: dict[int, dict[str, tuple[float, BaseDistribution]]] = {}  # trial -> parameter -> value as stored

    def get_trial(self, trial_id: int) -> FrozenTrial:
        """A copy of the trial."""
        if trial_id not in self._running:
            trial = super().get_trial(trial_id)
            if trial.state != TrialState.RUNNING:
                return trial
            self._running[trial_id] = trial
        return _copied(self._running[trial_id])

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        """The trial is in the database."""
        self._read.discard(study_id)
        return super().create_new_trial(study_id, template_trial)

    def set_trial_param(self, trial_id: int, param_name: str, param_value_internal: float, distribution: BaseDistribution) -> None:
        """The parameter is known, and in the database after the trial's next attribute, value or state."""
        trial, known = self._mine(trial_id), self._known(trial_id)
        if param_name in known:
            check_distribution_compatibility(known[param_name], distribution)
        trial.params[param_name] = distribution.to_external_repr(param_value_internal)
        trial.distributions[param_name] = distribution
        self._unwritten.setdefault(trial_id, {})[param_name] = (param_value_internal, distribution)

    def set_trial_intermediate_value(self, trial_id: int, step: int, intermediate_value: float) -> None:
        """The value is in the database."""
        values = self._mine(trial_id).intermediate_values
        if step in values:
            super().set_trial_intermediate_value(trial_id, step, intermediate_value)
        else:
            stored, kind = TrialIntermediateValueModel.intermediate_value_to_stored_repr(intermediate_value)
            row = {"trial_id": trial_id, "step": step, "intermediate_value": stored, "intermediate_value_type": kind}
            self._insert(TrialIntermediateValueModel, row)
        values[step] = intermediate_value

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        """The attribute is in the database."""
        self._note(TrialUserAttributeModel, self._mine(trial_id).user_attrs, trial_id, key, value, super().set_trial_user_attr)

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        """The attribute is in the database."""
        self._note(TrialSystemAttributeModel, self._mine(trial_id).system_attrs, trial_id, key, value, super().set_trial_system_attr)

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        """The state is in the database, and the trial no longer in memory."""
        self._write_parameters()
        self._running.pop(trial_id, None)
        self._read.clear()
        return super().set_trial_state_values(trial_id, state, values)

    def _mine(self, trial_id: int) -> FrozenTrial:
        if trial_id not in self._running:
            trial = super().get_trial(trial_id)
            if trial.state.is_finished():
                raise UpdateFinishedTrialError(f"Trial {trial.number} has ended, and what has ended stays as it is.")
            self._running[trial_id] = trial
        return self._running[trial_id]

    def _known(self, trial_id: int) -> dict[str, BaseDistribution]:
        """The distribution of each parameter that a trial of the same study had."""
        return self._studies[self._trial_id_to_study_id_and_number[trial_id][0]].param_distribution

    def _note(
        self, table: type, known: dict[str, Any], trial_id: int, key: str, value: Any, replace: Callable[[int, str, Any], None]
    ) -> None:
        if key in known:
            replace(trial_id, key, value)
        else:
            self._insert(table, {"trial_id": trial_id, "key": key, "value_json": json.dumps(value)})
        known[key] = copy.deepcopy(value)

    def _insert(self, table: type, row: dict[str, Any]) -> None:
        # Without Optuna's own questions, whether the trial runs and whether the row is there: both are known here.
        self._write_parameters()
        with _create_scoped_session(self._backend.scoped_session) as session:
            session.execute(insert(table), [row])

    def _read_trials_from_remote_storage(self, study_id: int) -> None:
        self._write_parameters()
        if study_id not in self._read:
            super()._read_trials_from_remote_storage(study_id)
            self._read.add(study_id)
        for trial_id, trial in self._running.items():
            if self._trial_id_to_study_id_and_number[trial_id][0] == study_id:
                self._studies[study_id].trials[trial.number] = trial

    def _write_parameters(self) -> None:
        for trial_id, parameters in list(self._unwritten.items()):
            known = self._known(trial_id)
            with _create_scoped_session(self._backend.scoped_session, True) as session:
                for name, (value, distribution) in parameters.items():
                    if name in known:
                        kind = distribution_to_json(distribution)
                        row = {"trial_id": trial_id, "param_name": name, "param_value": value, "distribution_json": kind}
                        session.execute(insert(TrialParamModel), [row])
                    else:
                        self._backend._set_trial_param_without_commit(session, trial_id, name, value, distribution)
            for name, (_, distribution) in parameters.items():
                known.setdefault(name, distribution)
            del self._unwritten[trial_id]  # only now: what a locked database refused is written with the next attempt


def _copied(trial: FrozenTrial) -> FrozenTrial:
    # As deep as Optuna changes what it is given.
    copied = copy.copy(trial)
    copied.params, copied.distributions = dict(trial.params), dict(trial.distributions)
    copied.user_attrs, copied.system_attrs = dict(trial.user_attrs), dict(trial.system_attrs)
    copied.intermediate_values = dict(trial.intermediate_values)
    return copied


def without_waiting_for_the_disk(storage: RDBStorage) -> None:
    """A SQLite file in WAL mode is no longer flushed to the disk at every write.

    A process that is killed loses nothing by it; a power cut may lose the last moments, never the file.
    Source: sqlite.org/pragma.html#pragma_synchronous.
    """

    @event.listens_for(storage.engine, "connect")
    def relax(connection: Any, _record: Any) -> None:
        connection.execute("PRAGMA synchronous=NORMAL")

    storage.engine.dispose()  # connections that were opened before
