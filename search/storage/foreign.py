"""Trials that another program added to a study of this toolkit. They are kept, but not used."""

from optuna.trial import FrozenTrial, TrialState, create_trial

from search.storage.optuna_private import trial_id, with_id
from search.storage.trial_record import FOREIGN, REASON, TrialRecord

SPEC = "spec"  # an attribute of every study that this toolkit created
WHY = "added by another program without a configuration, never counted"


def is_foreign(trial: FrozenTrial) -> bool:
    """Whether the trial has ended without a configuration of this toolkit."""
    return trial.state.is_finished() and not TrialRecord(trial).began


def set_aside(trial: FrozenTrial) -> FrozenTrial:
    """Return the trial as a failed one of the same number, which no sampler, pruner or list treats as a result."""
    attributes = {REASON: trial.user_attrs.get(REASON, WHY), FOREIGN: trial.user_attrs.get(FOREIGN, "added")}
    failed = create_trial(state=TrialState.FAIL, user_attrs=attributes, system_attrs=trial.system_attrs)
    failed.datetime_start, failed.datetime_complete = trial.datetime_start, trial.datetime_complete
    return with_id(failed, trial_id(trial), trial.number)
