"""The confirm stage: the best trials are trained again on fresh seeds, still on validation, and the best mean wins.

The best of many noisy values is best partly by luck; fresh seeds take the luck out again and show how much of it there
was.
"""

from collections.abc import Sequence

from fmnist.config import TrialConfig
from search.errors import SearchError
from search.executors import Task
from search.job.budget import seconds_left
from search.job.stage import Stage
from search.job.trainings import train_all
from search.storage.trial_record import TrialRecord
from search.study.records import Candidate, Confirmation, Dropped, SeedRun
from search.study.spec import StudySpec
from search.study.study import Study
from search.study.trials import complete_trials

FIRST_SEED = 1000  # past the search's own seeds


def confirm(stage: Stage) -> Candidate:
    """The study's Confirmation has a winner, which is returned; what an earlier run trained of it is kept.

    A candidate that diverges leaves its place to the next best trial.
    Raises: SearchError where no trial was completed, or every one diverged. InterruptedRunError.
    """
    study, spec = stage.study, stage.spec
    before = study.read(Confirmation) or Confirmation(candidates=())
    kept = {candidate.trial: candidate.runs for candidate in before.candidates}
    # Chosen anew each time: a search that went on after it was interrupted here may have found better trials.
    chosen = _candidates(study, spec, before.dropped)
    candidates = {each.trial: each.model_copy(update={"runs": kept.get(each.trial, ())}) for each in chosen}
    dropped = {each.trial: each for each in before.dropped}

    def note(winner: int | None = None) -> None:
        record = Confirmation(candidates=tuple(candidates.values()), winner=winner, dropped=tuple(dropped.values()))
        study.write(record)

    def keep(task: Task, value: float | None, seconds: float) -> None:
        assert value is not None
        if (candidate := candidates.get(trials[task.key])) is not None:  # none if it diverged with another seed
            run = SeedRun(seed=task.seed, macro_f1=value, seconds=seconds)
            candidates[candidate.trial] = candidate.model_copy(update={"runs": (*candidate.runs, run)})
            note()

    def drop(task: Task, reason: str) -> None:
        trial = trials[task.key]
        candidates.pop(trial, None)
        dropped[trial] = Dropped(trial=trial, reason=f"{reason}, with seed {task.seed}")
        note()

    seeds = range(FIRST_SEED + spec.seed, FIRST_SEED + spec.seed + spec.confirm.seeds)
    # Seed by seed, not candidate by candidate: all candidates are compared on equal terms at any moment.
    wanted = [(candidate, seed) for seed in seeds for candidate in candidates.values()]
    missing = [(candidate, seed) for candidate, seed in wanted if seed not in {run.seed for run in candidate.runs}]
    trials = {_key(candidate, seed): candidate.trial for candidate, seed in missing}
    tasks = [
        Task(_key(candidate, seed), candidate.config, seed, "search", snapshot=study.snapshot(_key(candidate, seed)))
        for candidate, seed in missing
    ]
    if tasks:
        stage.progress.begin("confirm", total=len(wanted), done=len(wanted) - len(tasks))
        train_all(stage, "confirm", tasks, keep, drop)
    if len(dropped) > len(before.dropped):
        return confirm(stage)
    winner = max(
        candidates.values(), key=lambda candidate: candidate.mean if candidate.runs else candidate.search_value
    )
    note(winner.trial)
    return winner


def drop_winner(study: Study, winner: Candidate, reason: str) -> None:
    """The winner is no candidate any more, and there is none until the stage has chosen again."""
    before = study.read(Confirmation) or Confirmation(candidates=())
    left = tuple(each for each in before.candidates if each.trial != winner.trial)
    study.write(Confirmation(candidates=left, dropped=(*before.dropped, Dropped(trial=winner.trial, reason=reason))))


def _candidates(study: Study, spec: StudySpec, dropped: Sequence[Dropped]) -> tuple[Candidate, ...]:
    best: dict[str, Candidate] = {}
    out = {each.trial for each in dropped}
    diverging: set[str] = set()
    for trial in complete_trials(study):
        settings = TrialRecord(trial).config
        assert settings is not None
        assert trial.value is not None
        config = TrialConfig.parse(settings, where=f"trial {trial.number}")
        # The same configuration under another seed is no second candidate.
        best.setdefault(
            config.model_dump_json(), Candidate(trial=trial.number, config=config, search_value=trial.value)
        )
        if trial.number in out:
            diverging.add(config.model_dump_json())
    left = [candidate for config, candidate in best.items() if config not in diverging]
    if not left:
        raise SearchError(_why_none(study, spec, dropped))
    return tuple(left)[: spec.confirm.top if spec.confirm.seeds else 1]


def _why_none(study: Study, spec: StudySpec, dropped: Sequence[Dropped]) -> str:
    if dropped:
        return (
            "Every trial that was completed diverged when it was trained again, the last so: trial "
            f"{dropped[-1].trial}: "
            f"{dropped[-1].reason}. Search a narrower learning_rate in a new study (--name)."
        )
    cause = (
        "its minutes were over. Raise --minutes"
        if seconds_left(study, spec) <= 0
        else "all ended early. Raise --trials"
    )
    return (
        f"No trial was completed, so there is no winner to confirm: {cause}, or begin a study with another --pruner "
        "(--name)."
    )


def _key(candidate: Candidate, seed: int) -> str:
    return f"trial {candidate.trial}, seed {seed}"
