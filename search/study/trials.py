"""The trials of a study: those that count, their values and their constraints."""

import math
from collections.abc import Iterable, Sequence

from optuna.trial import FrozenTrial, TrialState

from search.storage.trial_record import TrialRecord
from search.study.study import Study

FINISHED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)


def finished_trials(study: Study) -> list[FrozenTrial]:
    """Return the trials that count against the budget: complete, pruned or failed.

    Trials that were over a limit before they began, and trials that another program added, do not count.
    """
    return [trial for trial in study.trials(FINISHED) if TrialRecord(trial).counts]


def under_way(study: Study, states: Sequence[TrialState]) -> list[int]:
    """Return the numbers of the unfinished trials in these states, without those that no run has begun."""
    trials = study.trials(tuple(states))
    return [t.number for t in trials if t.state == TrialState.RUNNING or TrialRecord(t).began]


def foreign_trials(study: Study) -> list[FrozenTrial]:
    """Return the trials that another program added with their results; they never count."""
    return [trial for trial in study.trials() if TrialRecord(trial).foreign == "added"]


def complete_trials(study: Study) -> list[FrozenTrial]:
    """Return the complete trials in the study's space, best first."""
    trials = [trial for trial in study.trials((TrialState.COMPLETE,)) if TrialRecord(trial).outside is None]
    return sorted(trials, key=lambda trial: -(value_of(trial) or 0.0))


def best_complete(trials: Iterable[FrozenTrial]) -> FrozenTrial | None:
    """Return the best trial: complete, eligible, with the highest score of its one seed; None without one."""
    scored = [
        trial
        for trial in trials
        if trial.state == TrialState.COMPLETE and is_eligible(trial) and value_of(trial) is not None
    ]
    return max(scored, key=lambda trial: value_of(trial) or 0.0, default=None)


def value_of(trial: FrozenTrial) -> float | None:
    """Return the trial's macro F1; None if it has none yet, or of another program several, or none that is finite.

    The further values of a trial of a search against costs are the costs; a pruned one has no values there.
    """
    values = trial.values or []
    if not values and trial.state == TrialState.PRUNED and trial.last_step is not None:
        values = [trial.intermediate_values[trial.last_step]]
    is_one = len(values) == 1 or (bool(values) and TrialRecord(trial).began)
    return values[0] if is_one and math.isfinite(values[0]) else None


def costs_of_trial(study: Study, number: int) -> tuple[float, ...]:
    """Return the costs of a complete trial of a search against costs."""
    return tuple((study.trials()[number].values or [])[1:])


def constraints_of(trial: FrozenTrial) -> dict[str, float]:
    """Return limit -> the excess as a fraction of it; up to 0 is within."""
    named = {name: excess for name, excess in trial.constraints.items() if not name.isdigit()}
    # Numbered constraints repeat the named ones for optuna-dashboard, unless another program set only those.
    return named or trial.constraints


def is_feasible(trial: FrozenTrial) -> bool:
    """Return whether the trial is within every limit of its study, and neither diverged nor ran out of memory."""
    return all(over <= 0 for over in trial.constraints.values())


def is_eligible(trial: FrozenTrial) -> bool:
    """Whether the trial is feasible, and in the study's space, which may have been changed."""
    return is_feasible(trial) and TrialRecord(trial).outside is None
