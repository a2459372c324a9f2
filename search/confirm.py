"""The confirm stage: the best trials are trained again on fresh seeds, still on validation, and the best mean wins.

The best of many noisy values is best partly by luck; fresh seeds take the luck out again and show how much of it there was.
"""

import optuna

from fmnist.config import TrialConfig
from search.errors import SearchError
from search.executors import Executor, Task
from search.interrupt import Interrupt
from search.progress import Progress
from search.records import Candidate, Confirmation, SeedRun
from search.spec import StudySpec
from search.study import complete_trials, read, snapshot_path, write
from search.trainings import train_all

FIRST_SEED = 1000  # past the search's own seeds


def confirm(study: optuna.Study, spec: StudySpec, executor: Executor, progress: Progress, interrupt: Interrupt) -> Candidate:
    """The study's Confirmation has a winner, which is returned; what an earlier run trained of it is kept.

    Raises: SearchError where no trial was completed. InterruptedRunError.
    """
    before = read(study, "confirmation", Confirmation)
    kept = {candidate.trial: candidate.runs for candidate in before.candidates} if before else {}
    # Chosen anew each time: a search that went on after it was interrupted here may have found better trials.
    candidates = {each.trial: each.model_copy(update={"runs": kept.get(each.trial, ())}) for each in _candidates(study, spec)}

    def keep(task: Task, value: float | None, seconds: float) -> None:
        assert value is not None
        candidate = candidates[trials[task.key]]
        run = SeedRun(seed=task.seed, macro_f1=value, seconds=seconds)
        candidates[candidate.trial] = candidate.model_copy(update={"runs": (*candidate.runs, run)})
        write(study, "confirmation", Confirmation(candidates=tuple(candidates.values())))

    seeds = range(FIRST_SEED + spec.seed, FIRST_SEED + spec.seed + spec.confirm.seeds)
    # Seed by seed, not candidate by candidate: all candidates are compared on equal terms at any moment.
    wanted = [(candidate, seed) for seed in seeds for candidate in candidates.values()]
    missing = [(candidate, seed) for candidate, seed in wanted if seed not in {run.seed for run in candidate.runs}]
    trials = {_key(candidate, seed): candidate.trial for candidate, seed in missing}
    tasks = [
        Task(_key(candidate, seed), candidate.config, seed, "search", snapshot=snapshot_path(study.study_name, _key(candidate, seed)))
        for candidate, seed in missing
    ]
    if tasks:
        progress.begin("confirm", total=len(wanted), done=len(wanted) - len(tasks))
        train_all(study, "confirm", tasks, executor, progress, interrupt, keep)
    winner = max(candidates.values(), key=lambda candidate: candidate.mean if candidate.runs else candidate.search_value)
    write(study, "confirmation", Confirmation(candidates=tuple(candidates.values()), winner=winner.trial))
    return winner


def _candidates(study: optuna.Study, spec: StudySpec) -> tuple[Candidate, ...]:
    best: dict[str, Candidate] = {}
    for trial in complete_trials(study):
        config = TrialConfig.parse(trial.user_attrs["config"], where=f"trial {trial.number}")
        assert trial.value is not None
        # The same configuration under another seed is no second candidate.
        best.setdefault(config.model_dump_json(), Candidate(trial=trial.number, config=config, search_value=trial.value))
    if not best:
        raise SearchError("No trial was completed, so there is no winner to confirm. Raise --trials, or choose another pruner.")
    return tuple(best.values())[: spec.confirm.top if spec.confirm.seeds else 1]


def _key(candidate: Candidate, seed: int) -> str:
    return f"trial {candidate.trial}, seed {seed}"
