"""Optuna's storage for a process that alone writes the trials it runs: what it wrote, it need not read again.

Optuna reads a running trial anew, five queries each time, at every suggestion, report and verdict. That was most of what a trial cost
beside its training (benchmarks/overhead.py).
"""

import copy
from collections.abc import Sequence
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.storages import RDBStorage
from optuna.storages._cached_storage import _CachedStorage
from optuna.storages._rdb.storage import _create_scoped_session
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import event


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
        trial = self._mine(trial_id)
        trial.params[param_name] = distribution.to_external_repr(param_value_internal)
        trial.distributions[param_name] = distribution
        self._unwritten.setdefault(trial_id, {})[param_name] = (param_value_internal, distribution)

    def set_trial_intermediate_value(self, trial_id: int, step: int, intermediate_value: float) -> None:
        """The value is in the database."""
        self._write_parameters()
        super().set_trial_intermediate_value(trial_id, step, intermediate_value)
        self._mine(trial_id).intermediate_values[step] = intermediate_value

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        """The attribute is in the database."""
        self._write_parameters()
        super().set_trial_user_attr(trial_id, key, value)
        self._mine(trial_id).user_attrs[key] = copy.deepcopy(value)

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        """The attribute is in the database."""
        self._write_parameters()
        super().set_trial_system_attr(trial_id, key, value)
        self._mine(trial_id).system_attrs[key] = copy.deepcopy(value)

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        """The state is in the database, and the trial no longer in memory."""
        self._write_parameters()
        self._running.pop(trial_id, None)
        self._read.clear()
        return super().set_trial_state_values(trial_id, state, values)

    def _mine(self, trial_id: int) -> FrozenTrial:
        if trial_id not in self._running:
            self._running[trial_id] = super().get_trial(trial_id)
        return self._running[trial_id]

    def _read_trials_from_remote_storage(self, study_id: int) -> None:
        self._write_parameters()
        if study_id not in self._read:
            super()._read_trials_from_remote_storage(study_id)
            self._read.add(study_id)
        for trial_id, trial in self._running.items():
            if self._trial_id_to_study_id_and_number[trial_id][0] == study_id:
                self._studies[study_id].trials[trial.number] = trial

    def _write_parameters(self) -> None:
        for trial_id, parameters in self._unwritten.items():
            known = self._studies[self._trial_id_to_study_id_and_number[trial_id][0]].param_distribution
            with _create_scoped_session(self._backend.scoped_session, True) as session:
                for name, (value, distribution) in parameters.items():
                    self._backend._set_trial_param_without_commit(session, trial_id, name, value, distribution, known.get(name))
            for name, (_, distribution) in parameters.items():
                known.setdefault(name, distribution)
        self._unwritten.clear()


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
