"""The minutes of a whole job on the way: before the confirm stage and before the final one the rest is divided again.

It rests on what the trials really took.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from statistics import fmean, median
from typing import Any

from optuna.trial import FrozenTrial

from search.executors.capacity import slowdown
from search.job.confirm import candidates_for
from search.job.estimate import Costs
from search.job.minutes import around, epochs_within, shares_of, with_values
from search.job.place import Place
from search.job.progress.tally import Outlook
from search.job.stage import Stage
from search.storage.trial_record import TrialRecord
from search.study.records import Candidate, Confirmation, DataRecord, Decision, FinalTrainings, StageName
from search.study.spec import StudySpec
from search.study.study import Study
from search.study.timing import JobClock
from search.study.trials import complete_trials
from search.terminal.wording import counted, duration

LONGER = 2  # epochs of a candidate, relative to a trial's, where there is time
MARGIN = 0.95  # of the time left that the final trainings are planned to take


def decide(study: Study, clock: JobClock, text: str) -> None:
    """Record what the job has decided."""
    study.append(Decision(seconds=clock.seconds(), text=text))


def outlook_of(stage: Stage, costs: Costs, data: DataRecord) -> Outlook:
    """Return what the job is expected to take from now on: as long as the best trials took, once there are any."""
    spec = stage.spec
    candidates = complete_trials(stage.study)[: spec.confirm.top * spec.points]
    if measured := [seconds for trial in candidates if (seconds := _epoch_of(trial, spec, costs.place))]:
        costs = costs.taking(fmean(measured))
    estimate = costs.estimate(spec)
    stages: dict[StageName, float] = {
        "search": estimate.search,
        "confirm": estimate.confirm,
        "final": estimate.final,
    }
    minutes = spec.budget.minutes
    left = math.inf if minutes is None or stage.clock is None else minutes * 60 - stage.clock.seconds()
    return Outlook(stages, around(spec, costs, data), left)


def before_confirm(stage: Stage, costs: Costs) -> Stage:
    """Return the stage with as many candidates and epochs as the rest of the minutes has time for.

    Raises: SearchError if an earlier run's record cannot be read.
    """
    spec, study = stage.spec, stage.study
    if spec.budget.minutes is None or spec.confirm.seeds == 0 or _has_confirmed(study):
        return stage
    left = _left(stage, costs)
    data = study.read(DataRecord)
    assert data is not None, "create_study wrote it"
    of_search, of_confirm = shares_of(spec, data)
    share = max(left * of_confirm / (1 - of_search), left - costs.of_final(spec, spec.final_epochs))
    before = study.read(Confirmation) or Confirmation(candidates=())
    seconds: dict[int, list[float]] = {}  # of an epoch of each candidate, by the number of them (for a point)
    for top in range(1, spec.confirm.top + 1):
        chosen = candidates_for(study, with_values(spec, confirm={"top": top}), before)
        if seconds and len(chosen) == len(seconds[top - 1]):
            break  # there are no more
        trials = study.trials()
        seconds[top] = [_epoch_of(trials[one.trial], spec, costs.place) or costs.trial for one in chosen]
    plans = product(seconds, range(1, spec.confirm.seeds + 1), (spec.epochs, LONGER * spec.epochs))
    fitting = [
        (top, seeds, epochs) for top, seeds, epochs in plans if epochs * _together(seconds[top] * seeds, costs) <= share
    ]
    if not fitting:
        return _decided(stage, {"confirm": {"seeds": 0}}, "there is no time to confirm: the best trial is the winner")
    top, seeds, epochs = max(fitting)  # more candidates before more seeds, and these before more epochs
    each = " for each point of the front" if spec.search.against else ""
    text = (
        f"the best {counted(top, 'trial')}{each} again on {counted(seeds, 'fresh seed')} with "
        f"{counted(epochs, 'epoch')}: {duration(left)} are left for trainings"
    )
    longer = epochs if epochs != spec.epochs else None
    return _decided(stage, {"confirm": {"top": top, "seeds": seeds, "epochs": longer}}, text)


def before_final(
    stage: Stage, winner: Candidate, costs: Costs, data: DataRecord, images: int, *, is_second: bool = False
) -> Stage:
    """Return the stage with as many final epochs as the rest of the minutes has time for.

    `is_second`: another winner's final trainings diverged in this run. Those of an earlier run keep their epochs.
    """
    spec = stage.spec
    if spec.budget.minutes is None or (_has_begun_final(stage.study) and not is_second):
        return stage
    left = _left(stage, costs)
    target = spec.budget.target
    if target is not None and winner.runs and winner.mean >= target:
        epochs = spec.confirm.trained(winner.config).epochs
        text = f"{counted(epochs, 'epoch')} as in the confirm stage, where trial {winner.trial} had the target"
        return _decided(stage, {"final": {"epochs": epochs}}, text)
    points = _points(stage.study, winner)
    each = [_own(point, stage, costs, data, images) for point in points]
    own = replace(each[-1], final=sum(one.final for one in each) / spec.points)  # the mean of as many as are planned
    epochs = epochs_within(spec, own, left * MARGIN)
    taken = own.of_final(spec, epochs)
    of_points = f" of {counted(len(points), 'point')} of the front" if spec.search.against else ""
    text = (
        f"{counted(epochs, 'epoch')} for each of {counted(spec.final.seeds, 'final seed')}{of_points}: "
        f"{duration(left)} are left"
    )
    if taken > left:
        text += f", and one epoch takes {duration(taken)}, so the job will take longer"
    return _decided(stage, {"final": {"epochs": epochs}}, text)


def _points(study: Study, winner: Candidate) -> list[Candidate]:
    """Return what gets final trainings: the winner, and in a search against costs the other points of the front."""
    confirmation = study.read(Confirmation)
    of_trial = {one.trial: one for one in confirmation.candidates} if confirmation else {}
    others = [of_trial[trial] for trial in (confirmation.points if confirmation else ()) if trial != winner.trial]
    return [*others, winner]


def _own(candidate: Candidate, stage: Stage, costs: Costs, data: DataRecord, images: int) -> Costs:
    """Return the costs of the candidate's trainings, by the time that its trainings on the search's images took."""
    own = costs.of_config(candidate.config, stage.spec, data, images)
    if seconds := _measured(stage.study, candidate, stage.spec, costs.place):
        own = own.taking(seconds)
    return own


def _together(seconds: Sequence[float], costs: Costs) -> float:
    """Return the wall clock of trainings of such lengths."""
    return max(*seconds, costs.rounds.in_turns(len(seconds)) * fmean(seconds))


def _left(stage: Stage, costs: Costs) -> float:
    assert stage.spec.budget.minutes is not None
    assert stage.clock is not None, "a whole job has one"
    data = stage.study.read(DataRecord)
    assert data is not None, "create_study wrote it"
    return max(0.0, stage.spec.budget.minutes * 60 - stage.clock.seconds() - around(stage.spec, costs, data))


def _decided(stage: Stage, sections: dict[str, dict[str, Any]], text: str) -> Stage:
    spec = with_values(stage.spec, **sections)
    stage.study.note_spec(spec)
    assert stage.clock is not None
    decide(stage.study, stage.clock, text)
    stage.progress.message(f"{text[:1].upper()}{text[1:]}.")
    return replace(stage, spec=spec)


def _has_confirmed(study: Study) -> bool:
    confirmation = study.read(Confirmation)
    return confirmation is not None and any(candidate.runs for candidate in confirmation.candidates)


def _has_begun_final(study: Study) -> bool:
    return study.read(FinalTrainings) is not None or any(study.snapshot("seed").parent.glob("seed-*"))


def _measured(study: Study, winner: Candidate, spec: StudySpec, place: Place) -> float | None:
    """Return the seconds of the winner's epochs among busy workers; on a GPU, as if it was alone."""
    if not winner.runs:
        return _epoch_of(study.trials()[winner.trial], spec, place)
    epochs = spec.confirm.trained(winner.config).epochs
    together = min(spec.confirm.top * spec.points, spec.trials) * spec.confirm.seeds
    return median(run.seconds for run in winner.runs) / epochs / _slowdown(place, together)


def _epoch_of(trial: FrozenTrial, spec: StudySpec, place: Place) -> float | None:
    seconds = TrialRecord(trial).seconds
    return seconds / spec.epochs / _slowdown(place, spec.trials) if seconds else None


def _slowdown(place: Place, trainings: int) -> float:
    return 1.0 if place.cluster else slowdown(place.device, min(place.workers, trainings))
