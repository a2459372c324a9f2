"""The rest of a study's budget of trials and minutes."""

from optuna.trial import TrialState

from search.storage.trial_record import TrialRecord
from search.study.records import SearchEnd, Timing
from search.study.spec import StudySpec
from search.study.study import Study
from search.study.trials import FINISHED, complete_trials, finished_trials


def is_searched(study: Study, spec: StudySpec) -> bool:
    """Whether the budget of trials or minutes is used up, and none of the study's trials is unfinished.

    A trial that another program has asked for or enqueued, and no run has begun, does not keep the search going.
    """
    unfinished = study.trials((TrialState.RUNNING, TrialState.WAITING))
    if any(TrialRecord(trial).began for trial in unfinished):
        return False
    is_late = seconds_left(study, spec) <= 0 and not needs_a_result(study, spec)
    return spent(study, spec) >= spec.trials or is_late or is_at_end(study, spec)


def is_at_end(study: Study, spec: StudySpec) -> bool:
    """Whether a search of the same budget ended before it, with nothing more to gain."""
    end = study.read(SearchEnd)
    budget = (spec.trials, spec.search.minutes, spec.budget.target)
    return end is not None and (end.trials, end.minutes, end.target) == budget and not needs_a_result(study, spec)


def spent(study: Study, spec: StudySpec) -> int:
    """Return the number of trials that count against the budget."""
    if spec.search.sampler != "grid":
        return len(finished_trials(study))
    # A grid has no other point to replace one over a limit, so those count too; trials of other programs do not.
    return sum(TrialRecord(trial).foreign is None for trial in study.trials(FINISHED))


def seconds_left(study: Study, spec: StudySpec) -> float:
    """Return the seconds of search that are left, infinite if the study has no limit of minutes."""
    if spec.search.minutes is None:
        return float("inf")
    return spec.search.minutes * 60 - (study.read(Timing) or Timing()).search


def needs_a_result(study: Study, spec: StudySpec) -> bool:
    """Whether the search goes on past its minutes: those of the whole job are given, and no trial is complete."""
    return spec.budget.minutes is not None and not complete_trials(study)
