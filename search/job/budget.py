"""What is left of a study's budget of trials and minutes."""

from optuna.trial import TrialState

from search.storage.trial_record import TrialRecord
from search.study.records import Timing
from search.study.spec import StudySpec
from search.study.study import Study
from search.study.trials import FINISHED, finished_trials


def is_searched(study: Study, spec: StudySpec) -> bool:
    """Whether the budget is used up, in trials or in minutes, and none of the study's own trials is left to end.

    One that another program asked for or enqueued since, and no run has begun, is no reason to search on.
    """
    unfinished = study.trials((TrialState.RUNNING, TrialState.WAITING))
    if any(TrialRecord(trial).began for trial in unfinished):
        return False
    return spent(study, spec) >= spec.budget or seconds_left(study, spec) <= 0


def spent(study: Study, spec: StudySpec) -> int:
    """Trials that count."""
    if spec.search.sampler != "grid":
        return len(finished_trials(study))
    # A grid is not refilled: it has no other point for one that is over a limit. Another program's trial is none of its
    # points.
    return sum(TrialRecord(trial).foreign is None for trial in study.trials(FINISHED))


def seconds_left(study: Study, spec: StudySpec) -> float:
    """Infinite where the study has no limit of minutes."""
    if spec.search.minutes is None:
        return float("inf")
    return spec.search.minutes * 60 - (study.read(Timing) or Timing()).search
