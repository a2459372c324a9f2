"""Trials that another program added to a study of this toolkit: they stay where they are, and nothing is learned from
them.
"""

from optuna.trial import FrozenTrial, TrialState, create_trial

SPEC = "spec"  # the attribute of every study that was made here
CONFIG = "config"  # and of every trial that was trained here
FOREIGN = "foreign"  # the attribute of a trial that counts nowhere
REASON = "another program added it, without a configuration: it counts nowhere"


def is_foreign(trial: FrozenTrial) -> bool:
    """Whether the trial has ended without a configuration of ours."""
    return trial.state.is_finished() and CONFIG not in trial.user_attrs


def set_aside(trial: FrozenTrial) -> FrozenTrial:
    """The trial under its number as one that failed: no sampler, pruner or list takes it for a result."""
    reason = trial.user_attrs.get("reason", REASON)
    aside = create_trial(
        state=TrialState.FAIL, user_attrs={"reason": reason, FOREIGN: True}, system_attrs=trial.system_attrs
    )
    aside.number, aside._trial_id = trial.number, trial._trial_id
    aside.datetime_start, aside.datetime_complete = trial.datetime_start, trial.datetime_complete
    return aside
