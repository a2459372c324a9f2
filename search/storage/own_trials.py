"""Optuna's storage for a process that is the only writer of its running trials, and so need not read them again.

Optuna reads a running trial, with five queries, at every suggestion, report and pruning decision. That was a third of
a trial's cost besides its training (benchmarks/overhead.py).
"""

import copy
import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from functools import partial
from operator import attrgetter
from typing import Any, TypeVar

from optuna.distributions import BaseDistribution, check_distribution_compatibility
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState, create_trial

from search.storage.optuna_private import (
    StudyInfo,
    TrialIntermediateValueModel,
    TrialSystemAttributeModel,
    TrialUserAttributeModel,
    create_scoped_session,
    with_id,
)
from search.storage.optuna_private import trial_id as id_of
from search.storage.patient import PatientStorage
from search.storage.rows import change_trials, put_parameters, put_row
from search.storage.sharing import OWNER, TakenOverError, lock_study, release_trial

STALE_SECONDS = 1.0  # maximum age of the other runs' writes in memory; exact figures are read from the database
CONTENT = attrgetter("params", "user_attrs", "system_attrs")
T = TypeVar("T")


class OwnTrials(PatientStorage):
    """Keeps running trials in memory and in the database. Parameters are written together with the trial's next write.

    With a `share`, other runs have trials of the same study: then every write to a trial may raise TakenOverError.
    """

    def __init__(self, backend: RDBStorage) -> None:
        super().__init__(backend)
        self._running: dict[int, FrozenTrial] = {}
        self._ended: dict[int, FrozenTrial] = {}  # since the trials were read
        self._read: dict[int, tuple[float, int]] = {}  # study -> when its trials were read, and the newest of them
        self._unwritten: dict[int, dict[str, tuple[float, BaseDistribution]]] = {}  # trial -> name -> stored value

    def get_trial(self, trial_id: int) -> FrozenTrial:
        """Return a copy of the trial."""
        trial = self._running.get(trial_id) or self._ended.get(trial_id)
        if trial is None or trial.state == TrialState.WAITING:  # another run may have started a waiting one by now
            trial = self._ask(super().get_trial, trial_id)
            if trial.state != TrialState.RUNNING:
                return trial
            self._running[trial_id] = trial
        return _copied(trial)

    def delete_study(self, study_id: int) -> None:
        """Delete the study and its trials from the database and from memory."""
        for trials in (self._running, self._ended, self._unwritten):
            for trial_id in [id_ for id_ in trials if self._study_of(id_) == study_id]:
                del trials[trial_id]
        self._read.pop(study_id, None)
        super().delete_study(study_id)

    def change_trials(
        self,
        study_id: int,
        parameters: Mapping[int, Mapping[str, tuple[float, BaseDistribution]]],
        trial_attributes: Mapping[tuple[int, str], Any],
        study_attributes: Mapping[str, Any],
    ) -> None:
        """Replace what `rows.change_trials` does, in one transaction, while no trial of the study is running."""
        self._ask(change_trials, self._backend, study_id, parameters, trial_attributes, study_attributes)
        self._studies.pop(study_id, None)  # read again
        self._read.pop(study_id, None)
        self._ended = {id_: trial for id_, trial in self._ended.items() if self._study_of(id_) != study_id}

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        """Create a trial and return its id. Raises: StorageLostError. NoRoomError if the shared budget is used up."""
        create = partial(self._create, study_id, template_trial)
        return self._ask(create, again=lambda: self._already_created(study_id, template_trial) or create())

    def set_trial_param(
        self, trial_id: int, param_name: str, param_value_internal: float, distribution: BaseDistribution
    ) -> None:
        """Set the parameter in memory; it is written with the trial's next attribute, value or state."""
        trial, distributions = self._own_trial(trial_id), self._study_distributions(trial_id)
        check_distribution_compatibility(distributions.setdefault(param_name, distribution), distribution)
        trial.params[param_name] = distribution.to_external_repr(param_value_internal)
        trial.distributions[param_name] = distribution
        self._unwritten.setdefault(trial_id, {})[param_name] = (param_value_internal, distribution)

    def set_trial_intermediate_value(self, trial_id: int, step: int, intermediate_value: float) -> None:
        """Write the value to the database."""
        values = self._own_trial(trial_id).intermediate_values
        stored, kind = TrialIntermediateValueModel.intermediate_value_to_stored_repr(intermediate_value)
        row = {"trial_id": trial_id, "step": step, "intermediate_value": stored, "intermediate_value_type": kind}
        self._put(TrialIntermediateValueModel, row, ("trial_id", "step"), is_there=step in values)
        values[step] = intermediate_value

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        """Write the attribute to the database."""
        self._write_attribute(TrialUserAttributeModel, self._own_trial(trial_id).user_attrs, trial_id, key, value)

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        """Write the attribute to the database."""
        self._write_attribute(TrialSystemAttributeModel, self._own_trial(trial_id).system_attrs, trial_id, key, value)

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        """Write the state, and drop the trial from memory."""
        write = partial(super().set_trial_state_values, trial_id, state, values)
        # If a failed attempt took effect after all, Optuna would report that another process took or ended the trial.
        if state == TrialState.RUNNING:
            claim = partial(self._claim, trial_id, write)
            is_own = self._ask(claim, again=lambda: self._is_own_already(trial_id) or claim())
        else:
            end = partial(self._while_own, trial_id, write)
            is_own = self._write(trial_id, end, again=lambda: self._backend.get_trial(trial_id).state == state or end())
            self._remember_end(trial_id, state, values)
        self._running.pop(trial_id, None)
        return is_own

    def release(self, trial_id: int, owner: str | None) -> bool:
        """Set a running trial of the dead run `owner` to waiting, unless it has ended or has another owner by now."""
        self._require_reading()
        return self._ask(release_trial, self._backend, trial_id, owner)

    def _write(self, trial_id: int | None, write: Callable[[], T], again: Callable[[], T]) -> T:
        """Write the parameters that are in memory only, and then this."""

        def first() -> T:
            self._write_parameters(replace=False)
            return write()

        def retry() -> T:
            self._write_parameters(replace=True)
            return again()

        try:
            return self._ask(first, again=retry)
        except TakenOverError:
            if trial_id is not None:
                self._running.pop(trial_id, None)
            self._require_reading()
            raise

    def _own_trial(self, trial_id: int) -> FrozenTrial:
        if trial_id not in self._running:
            trial = self._ask(super().get_trial, trial_id)
            if trial.state.is_finished():
                raise UpdateFinishedTrialError(f"Trial {trial.number} has ended and cannot be changed.")
            self._running[trial_id] = trial
        return self._running[trial_id]

    def _study_distributions(self, trial_id: int) -> dict[str, BaseDistribution]:
        """Return the distributions of all parameters that trials of the same study have had."""
        return self._studies[self._trial_id_to_study_id_and_number[trial_id][0]].param_distribution

    def _write_attribute(self, table: Any, attributes: dict[str, Any], trial_id: int, key: str, value: Any) -> None:
        row = {"trial_id": trial_id, "key": key, "value_json": json.dumps(value)}
        self._put(table, row, ("trial_id", "key"), is_there=key in attributes)
        attributes[key] = copy.deepcopy(value)

    def _put(self, table: Any, row: dict[str, Any], keys: Sequence[str], *, is_there: bool) -> None:
        def put(replaces: Sequence[str]) -> None:
            with create_scoped_session(self._backend.scoped_session) as session:
                if self.share:
                    self.share.require_own(session, row["trial_id"])
                put_row(session, table, row, replaces)

        self._write(row["trial_id"], partial(put, keys if is_there else ()), partial(put, keys))

    def _while_own(self, trial_id: int, write: Callable[[], T]) -> T:
        if self.share is None:
            return write()
        with create_scoped_session(self._backend.scoped_session) as session:
            self.share.require_own(session, trial_id)
            return write()

    def _claim(self, trial_id: int, begin: Callable[[], bool]) -> bool:
        if self.share is None:
            return begin()
        with create_scoped_session(self._backend.scoped_session) as session:
            return self.share.claim(session, self._study_of(trial_id), trial_id) and begin()

    def _is_own_already(self, trial_id: int) -> bool:
        trial = self._backend.get_trial(trial_id)
        return trial.state == TrialState.RUNNING and (
            self.share is None or trial.system_attrs.get(OWNER) == self.share.owner
        )

    def _read_trials_from_remote_storage(self, study_id: int) -> None:
        if self._unwritten:
            self._write(None, lambda: None, lambda: None)
        read_at, newest = self._read.get(study_id, (-math.inf, -1))
        if time.monotonic() - read_at >= STALE_SECONDS:
            self._ask(self._read_other_trials, study_id, newest)
        trials = self._studies[study_id].trials
        for trial_id, trial in [*self._ended.items(), *self._running.items()]:
            # A trial that has ended in the database but runs here was taken over; it is not read again, so keep it as
            # it was read.
            read = trials.get(trial.number)
            if self._study_of(trial_id) == study_id and not (read and read.state.is_finished()):
                trials[trial.number] = trial

    def _read_other_trials(self, study_id: int, newest: int) -> None:
        study = self._studies.setdefault(study_id, StudyInfo())
        # All but those that run here. Ids ascend in the order of creation, because trials are created under a lock.
        trials = self._backend._get_trials(study_id, None, study.unfinished_trial_ids - self._running.keys(), newest)
        self._add_trials_to_cache(study_id, trials)
        for trial in trials:
            update = study.unfinished_trial_ids.discard if trial.state.is_finished() else study.unfinished_trial_ids.add
            update(id_of(trial))
        self._read[study_id] = (time.monotonic(), max([newest, *map(id_of, trials)]))
        self._ended = {id_: trial for id_, trial in self._ended.items() if self._study_of(id_) != study_id}

    def _require_reading(self) -> None:
        """Make the next access read the other runs' writes, whatever their age."""
        self._read = {study_id: (-math.inf, newest) for study_id, (_, newest) in self._read.items()}

    def _study_of(self, trial_id: int) -> int:
        return self._trial_id_to_study_id_and_number[trial_id][0]

    def _remember_end(self, trial_id: int, state: TrialState, values: Sequence[float] | None) -> None:
        if trial_id in self._trial_id_to_study_id_and_number:
            study_id, number = self._trial_id_to_study_id_and_number[trial_id]
            trial = self._running.get(trial_id) or self._ended.get(trial_id) or self._studies[study_id].trials[number]
            trial = _copied(trial)
            trial.state = state
            if values is not None:
                trial.values = list(values)
            trial.datetime_complete = datetime.now() if state.is_finished() else None  # local time, as in Optuna
            self._ended[trial_id] = trial

    def _create(self, study_id: int, template: FrozenTrial | None) -> int:
        # Not Optuna's create_new_trial, which retries five times after an error: if the first attempt took effect and
        # only the response was lost, its trial would stay RUNNING forever.
        with create_scoped_session(self._backend.scoped_session) as session:
            lock_study(session, study_id)  # the trial's number is counted under this lock
            if self.share and template is None:
                self.share.require_room(session, study_id)
            model: Any = self._backend._get_prepared_new_trial(study_id, template, session)
            trial_id, number, start = int(model.trial_id), model.number, model.datetime_start
            if self.share and template is None:
                self.share.sign(session, trial_id)
        if template is None:
            trial = create_trial(state=TrialState.RUNNING)
            with_id(trial, trial_id, number)
            trial.datetime_start = start
            trial.system_attrs = {OWNER: self.share.owner} if self.share else {}
            self._running[trial_id] = trial
        else:
            trial = self._backend.get_trial(trial_id)
        self._studies.setdefault(study_id, StudyInfo())
        self._add_trials_to_cache(study_id, [trial])
        return trial_id

    def _already_created(self, study_id: int, template: FrozenTrial | None) -> int | None:
        """Return the trial that a failed attempt created after all: it is newer than all trials in memory."""
        ids = (id_ for id_, (study, _) in self._trial_id_to_study_id_and_number.items() if study == study_id)
        states = (template.state if template else TrialState.RUNNING,)
        for trial in self._backend._get_trials(study_id, states, set(), max(ids, default=-1)):
            if self.share and template is None and trial.system_attrs.get(OWNER) != self.share.owner:
                continue
            if template is None or CONTENT(trial) == CONTENT(template):
                self._add_trials_to_cache(study_id, [trial])
                return id_of(trial)
        return None

    def _write_parameters(self, *, replace: bool) -> None:
        for trial_id, parameters in list(self._unwritten.items()):
            with suppress(TakenOverError), create_scoped_session(self._backend.scoped_session, True) as session:
                if self.share:
                    self.share.require_own(session, trial_id)
                put_parameters(session, trial_id, parameters, replace=replace)
            del self._unwritten[trial_id]  # only now: if the database is locked, the next attempt writes them


def _copied(trial: FrozenTrial) -> FrozenTrial:
    # As deep as Optuna changes a trial that it receives.
    copied = copy.copy(trial)
    copied.params, copied.distributions = dict(trial.params), dict(trial.distributions)
    copied.user_attrs, copied.system_attrs = dict(trial.user_attrs), dict(trial.system_attrs)
    copied.intermediate_values = dict(trial.intermediate_values)
    return copied
