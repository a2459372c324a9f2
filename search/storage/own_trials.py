"""Optuna's storage for a process that alone writes the trials it runs: what it wrote, it need not read again.

Optuna reads a running trial anew, five queries each time, at every suggestion, report and verdict. That was a third of
what a trial cost beside its training (benchmarks/overhead.py).
"""

import copy
import json
import math
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Any, TypeVar

from optuna.distributions import BaseDistribution, check_distribution_compatibility, distribution_to_json
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState, create_trial
from sqlalchemy import delete, insert

from search.storage.journal import Operation
from search.storage.operations import parameter, state_and_values
from search.storage.optuna_private import (
    StudyInfo,
    TrialIntermediateValueModel,
    TrialParamModel,
    TrialSystemAttributeModel,
    TrialUserAttributeModel,
    create_scoped_session,
    with_id,
)
from search.storage.optuna_private import trial_id as id_of
from search.storage.patience import Patience
from search.storage.patient import PatientStorage
from search.storage.sharing import OWNER, TakenOverError, let_go, lock_study

STALE_SECONDS = 1.0  # that what others wrote may be older here than in the database; what must be exact is asked there

T = TypeVar("T")


class OwnTrials(PatientStorage):
    """Keeps the running trials in memory beside the database. Parameters are written together with whatever is written
    next.

    With a `share`, other runs have trials of the same study: then every write to a trial may raise TakenOverError.
    """

    def __init__(self, backend: RDBStorage, patience: Patience | None = None) -> None:
        super().__init__(backend, patience)
        self._running: dict[int, FrozenTrial] = {}
        self._ended: dict[int, FrozenTrial] = {}  # since the trials were read
        self._read: dict[int, tuple[float, int]] = {}  # study -> when its trials were read, and the newest of them
        self._unwritten: dict[
            int, dict[str, tuple[float, BaseDistribution]]
        ] = {}  # trial -> parameter -> value as stored

    def get_trial(self, trial_id: int) -> FrozenTrial:
        """A copy of the trial."""
        trial = self._running.get(trial_id) or self._ended.get(trial_id)
        if trial is None or trial.state == TrialState.WAITING:  # which another run may have begun by now
            trial = self._ask(super().get_trial, trial_id, lost=lambda: self._remembered(trial_id))
            if trial.state != TrialState.RUNNING:
                return trial
            self._running[trial_id] = trial
        return _copied(trial)

    def delete_study(self, study_id: int) -> None:
        """Neither the database nor the memory has the study and its trials any more."""
        for trials in (self._running, self._ended, self._unwritten):
            for trial_id in [each for each in trials if self._study_of(each) == study_id]:
                del trials[trial_id]
        self._read.pop(study_id, None)
        super().delete_study(study_id)

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        """The trial is in the database. Raises: StorageLostError. NoRoomError where the budget that is shared has
        none.
        """
        create = partial(self._create, study_id, template_trial)
        return self._ask(
            create, lost=self._raise_lost, again=lambda: self._made_already(study_id, template_trial) or create()
        )

    def set_trial_param(
        self, trial_id: int, param_name: str, param_value_internal: float, distribution: BaseDistribution
    ) -> None:
        """The parameter is known, and in the database after the trial's next attribute, value or state."""
        trial, known = self._mine(trial_id), self._known(trial_id)
        check_distribution_compatibility(known.setdefault(param_name, distribution), distribution)
        trial.params[param_name] = distribution.to_external_repr(param_value_internal)
        trial.distributions[param_name] = distribution
        self._unwritten.setdefault(trial_id, {})[param_name] = (param_value_internal, distribution)

    def set_trial_intermediate_value(self, trial_id: int, step: int, intermediate_value: float) -> None:
        """The value is in the database."""
        values = self._mine(trial_id).intermediate_values
        stored, kind = TrialIntermediateValueModel.intermediate_value_to_stored_repr(intermediate_value)
        row = {"trial_id": trial_id, "step": step, "intermediate_value": stored, "intermediate_value_type": kind}
        arguments = (trial_id, step, float(intermediate_value))
        write = partial(self._put, TrialIntermediateValueModel, row, ("trial_id", "step") if step in values else ())
        self._write(trial_id, Operation("set_trial_intermediate_value", arguments), write)
        values[step] = intermediate_value

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        """The attribute is in the database."""
        self._note(TrialUserAttributeModel, self._mine(trial_id).user_attrs, trial_id, key, value)

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        """The attribute is in the database."""
        self._note(TrialSystemAttributeModel, self._mine(trial_id).system_attrs, trial_id, key, value)

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        """The state is in the database, and the trial no longer in memory. Raises: StorageLostError where the trial
        would begin.
        """
        write = partial(super().set_trial_state_values, trial_id, state, values)
        if state == TrialState.RUNNING:
            claim = partial(self._claim, trial_id, write)
            # After a failed attempt that was carried out after all, Optuna's answer would be that another process took
            # the trial.
            is_mine = self._ask(claim, lost=self._raise_lost, again=lambda: self._is_mine_already(trial_id) or claim())
        else:
            at = datetime.now()  # local, as Optuna's own
            is_mine = self._write(
                trial_id, state_and_values(trial_id, state, values, at), partial(self._as_mine, trial_id, write)
            )
            self._remember_end(trial_id, state, values, at)
        self._running.pop(trial_id, None)
        return is_mine

    def release(self, trial_id: int, owner: str | None) -> bool:
        """The running trial of the run `owner`, which is dead, waits for the next one, unless it has ended or changed
        hands meanwhile.
        """
        self._look_again()
        return self._ask(partial(let_go, self._backend, trial_id, owner), lost=lambda: False)

    def _write(self, trial_id: int | None, operation: Operation | None, write: Callable[[], object]) -> bool:
        """The parameters and then the operation are in the database, or in the journal."""

        def both() -> object:
            self._write_parameters()
            return write()

        try:
            done = self._deliver(both, lambda: self._with_parameters(operation))
        except TakenOverError:
            if trial_id is not None:
                self._running.pop(trial_id, None)
            self._look_again()
            raise
        self._unwritten.clear()
        return done

    def _with_parameters(self, operation: Operation | None) -> list[Operation]:
        found = [
            parameter(trial_id, name, value, distribution)
            for trial_id, parameters in self._unwritten.items()
            for name, (value, distribution) in parameters.items()
        ]
        found += [operation] if operation else []
        return [replace(each, owner=self.share.owner) for each in found] if self.share else found

    def _mine(self, trial_id: int) -> FrozenTrial:
        if trial_id not in self._running:
            trial = self._ask(super().get_trial, trial_id, lost=lambda: self._remembered(trial_id))
            if trial.state.is_finished():
                raise UpdateFinishedTrialError(f"Trial {trial.number} has ended, and what has ended stays as it is.")
            self._running[trial_id] = trial
        return self._running[trial_id]

    def _known(self, trial_id: int) -> dict[str, BaseDistribution]:
        """The distribution of each parameter that a trial of the same study had."""
        return self._studies[self._trial_id_to_study_id_and_number[trial_id][0]].param_distribution

    def _note(self, table: Any, known: dict[str, Any], trial_id: int, key: str, value: Any) -> None:
        row = {"trial_id": trial_id, "key": key, "value_json": json.dumps(value)}
        write = partial(self._put, table, row, ("trial_id", "key") if key in known else ())
        name = "set_trial_user_attr" if table is TrialUserAttributeModel else "set_trial_system_attr"
        self._write(trial_id, Operation(name, (trial_id, key, value)), write)
        known[key] = copy.deepcopy(value)

    def _put(self, table: Any, row: dict[str, Any], replaces: Sequence[str]) -> None:
        # Without Optuna's own questions, whether the trial runs and whether the row is there: both are known here.
        with create_scoped_session(self._backend.scoped_session) as session:
            if self.share:
                self.share.require_own(session, row["trial_id"])
            if replaces:
                session.execute(delete(table).where(*(getattr(table, name) == row[name] for name in replaces)))
            session.execute(insert(table), [row])

    def _as_mine(self, trial_id: int, write: Callable[[], T]) -> T:
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

    def _is_mine_already(self, trial_id: int) -> bool:
        trial = self._backend.get_trial(trial_id)
        return trial.state == TrialState.RUNNING and (
            self.share is None or trial.system_attrs.get(OWNER) == self.share.owner
        )

    def _read_trials_from_remote_storage(self, study_id: int) -> None:
        if self._unwritten:
            self._write(None, None, lambda: None)
        at, newest = self._read.get(study_id, (-math.inf, -1))
        if time.monotonic() - at >= STALE_SECONDS:
            self._ask(self._read_what_others_wrote, study_id, newest, lost=lambda: None)
        if study_id not in self._read:
            self._raise_lost()
        trials = self._studies[study_id].trials
        for trial_id, trial in [*self._ended.items(), *self._running.items()]:
            # One that has ended in the database and runs here was taken over; it is never read again, so it must stay
            # as it was read.
            if self._study_of(trial_id) == study_id and not (
                trial.number in trials and trials[trial.number].state.is_finished()
            ):
                trials[trial.number] = trial

    def _read_what_others_wrote(self, study_id: int, newest: int) -> None:
        study = self._studies.setdefault(study_id, StudyInfo())
        # Those that run here are known. Trials come in the order of their ids, for each is made under the study's lock.
        trials = self._backend._get_trials(study_id, None, study.unfinished_trial_ids - self._running.keys(), newest)
        self._add_trials_to_cache(study_id, trials)
        for trial in trials:
            note = study.unfinished_trial_ids.discard if trial.state.is_finished() else study.unfinished_trial_ids.add
            note(id_of(trial))
        self._read[study_id] = (time.monotonic(), max([newest, *map(id_of, trials)]))
        self._ended = {each: trial for each, trial in self._ended.items() if self._study_of(each) != study_id}

    def _look_again(self) -> None:
        self._read = {study_id: (-math.inf, newest) for study_id, (_, newest) in self._read.items()}

    def _study_of(self, trial_id: int) -> int:
        return self._trial_id_to_study_id_and_number[trial_id][0]

    def _remembered(self, trial_id: int) -> FrozenTrial:
        if trial_id not in self._trial_id_to_study_id_and_number:
            self._raise_lost()
        study_id, number = self._trial_id_to_study_id_and_number[trial_id]
        return self._ended.get(trial_id) or self._studies[study_id].trials[number]

    def _remember_end(self, trial_id: int, state: TrialState, values: Sequence[float] | None, at: datetime) -> None:
        if trial_id in self._trial_id_to_study_id_and_number:
            trial = _copied(self._running.get(trial_id) or self._remembered(trial_id))
            trial.state = state
            if values is not None:
                trial.values = list(values)
            trial.datetime_complete = at if state.is_finished() else None
            self._ended[trial_id] = trial

    def _create(self, study_id: int, template: FrozenTrial | None) -> int:
        # Not by Optuna's own create_new_trial: after an error it tries again, five times, and where the database had
        # carried the first attempt out and only its answer was lost, that trial would stay RUNNING for ever.
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

    def _made_already(self, study_id: int, template: FrozenTrial | None) -> int | None:
        """The trial that a failed attempt made after all: unknown here, although all that were there before are
        known.
        """
        newest = max(
            (each for each, (study, _) in self._trial_id_to_study_id_and_number.items() if study == study_id),
            default=-1,
        )
        for trial in self._backend._get_trials(
            study_id, (template.state if template else TrialState.RUNNING,), set(), newest
        ):
            if self.share and template is None and trial.system_attrs.get(OWNER) != self.share.owner:
                continue
            if template is None or (trial.params, trial.user_attrs, trial.system_attrs) == (
                template.params,
                template.user_attrs,
                template.system_attrs,
            ):
                self._add_trials_to_cache(study_id, [trial])
                return id_of(trial)
        return None

    def _write_parameters(self) -> None:
        for trial_id, parameters in list(self._unwritten.items()):
            with suppress(TakenOverError), create_scoped_session(self._backend.scoped_session, True) as session:
                if self.share:
                    self.share.require_own(session, trial_id)
                for name, (value, distribution) in parameters.items():
                    # Without Optuna's own question, which another program's trial in the study could answer with an
                    # error.
                    kind = distribution_to_json(distribution)
                    row = {"trial_id": trial_id, "param_name": name, "param_value": value, "distribution_json": kind}
                    session.execute(insert(TrialParamModel), [row])
            del self._unwritten[trial_id]  # only now: what a locked database refused is written with the next attempt


def _copied(trial: FrozenTrial) -> FrozenTrial:
    # As deep as Optuna changes what it is given.
    copied = copy.copy(trial)
    copied.params, copied.distributions = dict(trial.params), dict(trial.distributions)
    copied.user_attrs, copied.system_attrs = dict(trial.user_attrs), dict(trial.system_attrs)
    copied.intermediate_values = dict(trial.intermediate_values)
    return copied
