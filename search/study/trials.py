"""The trials of a study: which count, how good they are, and what speaks against them."""

import math

from optuna.trial import FrozenTrial, TrialState

from search.storage.trial_record import TrialRecord
from search.study.study import Study

FINISHED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)


def finished_trials(study: Study) -> list[FrozenTrial]:
    """The trials that count against the budget: complete, pruned or failed, but not those that were over a limit before
    they began.

    Nor does one that another program added.
    """
    return [trial for trial in study.trials(FINISHED) if TrialRecord(trial).counts]


def foreign_trials(study: Study) -> list[FrozenTrial]:
    """The trials that another program added with their results; they count nowhere."""
    return [trial for trial in study.trials() if TrialRecord(trial).foreign == "added"]


def complete_trials(study: Study) -> list[FrozenTrial]:
    """The trials that trained to their end, best first."""
    trials = study.trials((TrialState.COMPLETE,))
    return sorted(trials, key=lambda trial: -(trial.value or 0.0))


def value_of(trial: FrozenTrial) -> float | None:
    """The trial's one value, None where it has none that is a number: not yet, or as another program's study with
    several.
    """
    values = trial.values or []
    return values[0] if len(values) == 1 and not math.isnan(values[0]) else None


def constraints_of(trial: FrozenTrial) -> dict[str, float]:
    """Limit -> by how much of it the trial is over it; up to 0 is within."""
    named = {name: share for name, share in trial.constraints.items() if not name.isdigit()}
    return (
        named or trial.constraints
    )  # those with numbers are the same again, for optuna-dashboard, or all that another program gave
