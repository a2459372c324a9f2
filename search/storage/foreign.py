"""Trials that another program added to a study of this toolkit: they are kept, and nothing is learned from them."""

from optuna.trial import FrozenTrial, TrialState, create_trial

from search.storage.optuna_private import trial_id, with_id
from search.storage.trial_record import CONFIG, FOREIGN

SPEC = "spec"  # the attribute of every study that was made here
REASON = "another program added it, without a configuration: it counts nowhere"


def is_foreign(trial: FrozenTrial) -> bool:
    """Whether the trial has ended without a configuration of ours."""
    return trial.state.is_finished() and CONFIG not in trial.user_attrs


def set_aside(trial: FrozenTrial) -> FrozenTrial:
    """Return the trial under its number as a failed one, which no sampler, pruner or list takes for a result."""
    notes = {"reason": trial.user_attrs.get("reason", REASON), FOREIGN: trial.user_attrs.get(FOREIGN, "added")}
    aside = create_trial(state=TrialState.FAIL, user_attrs=notes, system_attrs=trial.system_attrs)
    aside.datetime_start, aside.datetime_complete = trial.datetime_start, trial.datetime_complete
    return with_id(aside, trial_id(trial), trial.number)
