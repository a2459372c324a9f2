"""The confirm stage: retrain the best trials on fresh seeds, score them on validation, and choose the best mean.

The best of many noisy values is partly best by luck; fresh seeds remove the luck and measure it.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fmnist.config import TrialConfig
from search.errors import SearchError
from search.executors import Predicted, Task
from search.job.points import Scored, points_with_rivals, undominated
from search.job.stage import Stage
from search.job.temperature import fitted_temperature, temperature_of
from search.job.trainings import train_all, turns_of
from search.storage.trial_record import TrialRecord
from search.study.budget import seconds_left
from search.study.costs import with_floor
from search.study.records import Candidate, Confirmation, Dropped, SeedRun
from search.study.sections import DEFAULT_LOSS
from search.study.spec import StudySpec
from search.study.study import Study
from search.study.trials import complete_trials, costs_of_trial, value_of

FIRST_SEED = 1000  # past the search's own seeds


def confirm(stage: Stage) -> Candidate:
    """Choose the winner of the study, record it in its Confirmation and return it; resume an earlier confirm stage.

    A candidate that diverges is replaced by the next best trial.

    Raises: SearchError if no trial was completed, or all diverged. InterruptedRunError.
    """
    study, spec = stage.study, stage.spec
    before = study.read(Confirmation) or Confirmation(candidates=())
    # Chosen again on each call: a search that resumed after an interruption here may have found better trials.
    candidates = {candidate.trial: candidate for candidate in candidates_for(study, spec, before)}
    dropped = {entry.trial: entry for entry in before.dropped}
    temperatures: dict[str, float | None] = {}  # of trainings of this call, by their keys

    def note(**result: Any) -> None:
        study.write(Confirmation(candidates=tuple(candidates.values()), dropped=tuple(dropped.values()), **result))

    def see(predicted: Predicted) -> None:
        temperatures[predicted.key] = temperature_of(predicted.probabilities, predicted.labels)

    def keep(task: Task, value: float | None, seconds: float) -> None:
        assert value is not None
        if (candidate := candidates.get(trials[task.key])) is not None:  # none if it diverged with another seed
            temperature = temperatures.get(task.key)
            run = SeedRun(seed=task.seed, macro_f1=value, seconds=seconds, temperature=temperature)
            candidates[candidate.trial] = candidate.model_copy(update={"runs": (*candidate.runs, run)})
            note()

    def drop(task: Task, reason: str) -> None:
        trial = trials[task.key]
        candidates.pop(trial, None)
        dropped[trial] = Dropped(trial=trial, reason=f"{reason}, with seed {task.seed}")
        note()

    seeds = range(FIRST_SEED + spec.seed, FIRST_SEED + spec.seed + spec.confirm.seeds)
    # Seed by seed, so that the candidates are comparable at any time.
    trainings = [(candidate, seed) for seed in seeds for candidate in candidates.values()]
    missing = [(candidate, seed) for candidate, seed in trainings if seed not in {run.seed for run in candidate.runs}]
    trials = {_key(candidate, seed): candidate.trial for candidate, seed in missing}
    if tasks := [_task(stage, candidate, seed) for candidate, seed in missing]:
        stage.progress.begin("confirm", total=len(trainings), done=len(trainings) - len(tasks))
        turns = turns_of(stage, [_task(stage, candidate, seed) for candidate, seed in trainings])
        train_all(stage, "confirm", tasks, keep, drop, see=see, turns=turns)
    if len(dropped) > len(before.dropped):
        return confirm(stage)
    winner, others = _chosen(stage, candidates, before)
    note(winner=winner.trial, **others)
    return winner


def _chosen(
    stage: Stage, candidates: Mapping[int, Candidate], before: Confirmation
) -> tuple[Candidate, dict[str, Any]]:
    """Return the winner and the other fields of the Confirmation that follow: its temperature, and a front's points."""
    if not stage.spec.search.against:
        winner = max(candidates.values(), key=_score)
        return winner, {"temperature": fitted_temperature(stage, winner, before)}
    points = _points(stage.study, stage.spec, candidates)
    fitted = {point.trial: fitted_temperature(stage, point, before) for point in points}
    winner = max(points, key=_score)
    return winner, {
        "temperature": fitted[winner.trial],
        "points": tuple(fitted),
        "temperatures": tuple(fitted.values()),
    }


def _task(stage: Stage, candidate: Candidate, seed: int) -> Task:
    key = _key(candidate, seed)
    config = stage.spec.confirm.trained(candidate.config)
    return Task(key, config, seed, "search", snapshot=stage.study.snapshot(key))


def _score(candidate: Candidate) -> float:
    return candidate.mean if candidate.runs else candidate.search_value


def drop_winner(study: Study, winner: Candidate, reason: str) -> None:
    """Record that the winner is no longer a candidate; the study has no winner until `confirm` chooses again."""
    before = study.read(Confirmation) or Confirmation(candidates=())
    others = tuple(candidate for candidate in before.candidates if candidate.trial != winner.trial)
    study.write(Confirmation(candidates=others, dropped=(*before.dropped, Dropped(trial=winner.trial, reason=reason))))


def candidates_for(study: Study, spec: StudySpec, before: Confirmation) -> tuple[Candidate, ...]:
    """Return the best trials that `spec` retrains, with what was trained `before`.

    Raises: SearchError if no trial was completed, or all diverged.
    """
    best: dict[str, Candidate] = {}
    earlier_runs = {candidate.trial: candidate.runs for candidate in before.candidates}
    dropped_trials = {entry.trial for entry in before.dropped}
    diverging: set[str] = set()
    for trial in complete_trials(study):
        settings = TrialRecord(trial).config
        if settings is None:
            raise SearchError(f"Trial {trial.number} has no valid configuration: another program changed it.")
        value = value_of(trial)
        assert value is not None
        config = TrialConfig.parse(settings, context=f"trial {trial.number}")
        # The same configuration with another seed is not a second candidate.
        best.setdefault(
            config.model_dump_json(),
            Candidate(
                trial=trial.number,
                config=config,
                search_value=value,
                runs=earlier_runs.get(trial.number, ()),
            ),
        )
        if trial.number in dropped_trials:
            diverging.add(config.model_dump_json())
    candidates = [candidate for config, candidate in best.items() if config not in diverging]
    if not candidates:
        raise SearchError(_why_none(study, spec, before.dropped))
    most = spec.confirm.top if spec.confirm.seeds else 1
    if not spec.search.against:
        return tuple(candidates)[:most]
    of_trial = {candidate.trial: candidate for candidate in candidates}
    groups = _groups(study, spec, candidates)
    return tuple(of_trial[entry.trial] for rivals in groups for entry in rivals[:most])


def _groups(study: Study, spec: StudySpec, candidates: Iterable[Candidate]) -> list[list[Scored]]:
    """Return the points of the front by their search values, each before those that may replace it."""
    scored = [_scored(study, spec, one.trial, one.search_value) for one in candidates]
    return points_with_rivals(scored, spec.points, DEFAULT_LOSS if spec.final.loss is None else spec.final.loss)


def _points(study: Study, spec: StudySpec, candidates: Mapping[int, Candidate]) -> list[Candidate]:
    """Return the best candidate of each point that is not dominated by another one, the cheapest first."""
    best = [
        max((candidates[entry.trial] for entry in rivals if entry.trial in candidates), key=_score)
        for rivals in _groups(study, spec, candidates.values())
    ]
    scored = [_scored(study, spec, one.trial, _score(one)) for one in best]
    return [candidates[entry.trial] for entry in undominated(scored)]


def _scored(study: Study, spec: StudySpec, trial: int, value: float) -> Scored:
    return Scored(trial, value, with_floor(spec.search, costs_of_trial(study, trial)))


def _why_none(study: Study, spec: StudySpec, dropped: Sequence[Dropped]) -> str:
    if dropped:
        return (
            "Every complete trial diverged when it was retrained, the last one: trial "
            f"{dropped[-1].trial}: "
            f"{dropped[-1].reason}. Search a narrower learning_rate in a new study (--name)."
        )
    cause = (
        "its minutes are used up. Raise --search-minutes"
        if seconds_left(study, spec) <= 0
        else "all ended early. Raise --trials"
    )
    return (
        f"No trial was completed, so there is no winner to confirm: {cause}, or start a study with another --pruner "
        "(--name)."
    )


def _key(candidate: Candidate, seed: int) -> str:
    return f"trial {candidate.trial}, seed {seed}"
