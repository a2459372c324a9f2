"""What is left of a study's budget of trials and minutes."""

import optuna
from optuna.trial import TrialState

from search.records import Timing
from search.spec import StudySpec
from search.study import FINISHED, finished_trials, read


def is_searched(study: optuna.Study, spec: StudySpec) -> bool:
    """Whether the budget is used up, in trials or in minutes, and nothing is left running."""
    unfinished = study.get_trials(deepcopy=False, states=(TrialState.RUNNING, TrialState.WAITING))
    return not unfinished and (spent(study, spec) >= spec.budget or seconds_left(study, spec) <= 0)


def spent(study: optuna.Study, spec: StudySpec) -> int:
    """Trials that count."""
    # A grid is not refilled: it has no other point for one that is over a limit.
    return len(study.get_trials(deepcopy=False, states=FINISHED) if spec.search.sampler == "grid" else finished_trials(study))


def seconds_left(study: optuna.Study, spec: StudySpec) -> float:
    """Infinite where the study has no limit of minutes."""
    if spec.search.minutes is None:
        return float("inf")
    return spec.search.minutes * 60 - (read(study, "timing", Timing) or Timing()).search
