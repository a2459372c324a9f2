"""After a study: its winner again, with one regulariser switched off at a time, on fresh seeds and the validation
split.
"""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import torch

from fmnist.config import TrialConfig
from fmnist.data.sources import Source, fingerprint
from fmnist.data.splits import SPLIT_SEED
from fmnist.machine import cores
from fmnist.suggestions import did_you_mean
from search.errors import SearchError
from search.executors import Executor, Task
from search.executors.local import LocalExecutor
from search.executors.training import Setup
from search.job.estimate import trainings_seconds
from search.job.interrupt import Interrupt
from search.job.progress.display import Progress
from search.job.trainings import train_all
from search.report.ablation import REGULARISERS, switched_off, used
from search.report.page.html import PAGE, write_page
from search.report.render import read_report, write_report
from search.storage.recovery import take_up
from search.study.lock import noted_run, sole_run
from search.study.ownership import claim_folder, require_own_folder
from search.study.paths import journal_path
from search.study.records import Ablation, Ablations, DataRecord, SeedRun, Variant
from search.study.study import Study, journalled
from search.study.winner import is_confirmed, winner

FIRST_SEED = 3000  # past the seeds of search, confirm and final


@dataclass(frozen=True)
class Plan:
    """A checked request: which networks are trained on which seeds, and what that costs here."""

    study: Study
    source: Source
    device: torch.device
    workers: int
    trial: int
    config: TrialConfig
    knobs: tuple[str, ...]  # to be switched off
    seeds: tuple[int, ...]
    seconds: float  # estimated, of all trainings

    @property
    def threads(self) -> int:
        """Of each worker."""
        return max(1, cores() // self.workers)

    @property
    def variants(self) -> tuple[str | None, ...]:
        """The winner as it is, and without each regulariser."""
        return (None, *self.knobs)


def make_plan(
    study: Study,
    source: Source,
    device: torch.device,
    *,
    seeds: int,
    epochs: int | None,
    only: Sequence[str],
    workers: int,
) -> Plan:
    """What is to be trained.

    Raises: SearchError where the study has no winner, uses none of the regularisers, or was made on other data.
    """
    trial, found = winner(study)
    if not is_confirmed(study):
        raise SearchError(
            f"The study {study.name!r} has no winner yet, its search or confirm stage is not over. "
            "Give the command that began it again; when it is done, ablate."
        )
    config = TrialConfig.model_validate(found.model_dump() | ({"epochs": epochs} if epochs else {}))
    knobs = _chosen(config, only)
    data, train = study.read(DataRecord), source.train()
    if data is None or fingerprint(train) != data.fingerprint:
        raise SearchError(
            f"The study {study.name!r} was made on other data than {source.name}; name its own with --data."
        )
    first = FIRST_SEED + study.spec.seed
    configs = [config if knob is None else switched_off(config, knob) for knob in (None, *knobs)]
    threads = max(1, cores() // workers)
    seconds = trainings_seconds(
        [each for each in configs for _ in range(seeds)], device, threads=threads, workers=workers, data=data
    )
    return Plan(study, source, device, workers, trial, config, knobs, tuple(range(first, first + seeds)), seconds)


def carry_out(plan: Plan, progress: Progress) -> Ablation:
    """Every variant was trained on every seed; the study holds the scores, and its report shows them.

    What an earlier call trained is kept.
    Raises: SearchError where a run is at work on the study, or a training fails. InterruptedRunError. StorageLostError.
    """
    name = plan.study.name
    setup = Setup(plan.source, SPLIT_SEED, str(plan.device), plan.threads)
    own = plan.study.storage
    require_own_folder(plan.study)
    with sole_run(plan.study.folder, name, own._backend):
        claim_folder(plan.study)
        take_up(journal_path(plan.study.folder), name, own)
        is_server = own._backend.engine.name != "sqlite"
        with journalled(plan.study, progress.message), noted_run(plan.study) if is_server else nullcontext():
            return _perform(plan, setup, progress)


def _perform(plan: Plan, setup: Setup, progress: Progress) -> Ablation:
    with Interrupt() as interrupt, LocalExecutor(setup, plan.workers) as executor:
        if executor.sharing.note:
            progress.message(executor.sharing.note)
        found = _train(plan, executor, progress, interrupt)
    folder = plan.study.folder
    write_report(read_report(plan.study), folder)
    write_page(plan.study, folder / PAGE)
    return found


def _train(plan: Plan, executor: Executor, progress: Progress, interrupt: Interrupt) -> Ablation:
    before = _kept(plan)
    kept = [before.get(variant, Variant(without=variant)) for variant in dict.fromkeys((*before, *plan.variants))]
    runs = {variant.without: {run.seed: run for run in variant.runs} for variant in kept}
    wanted = [
        (variant, seed) for seed in plan.seeds for variant in plan.variants
    ]  # seed by seed: comparable at any moment
    diverged = {variant.without: set(variant.diverged) for variant in kept}
    missing = {
        _key(*each): each for each in wanted if each[1] not in runs[each[0]] and each[1] not in diverged[each[0]]
    }

    def keep(task: Task, value: float | None, seconds: float) -> None:
        assert value is not None
        variant, seed = missing[task.key]
        runs[variant][seed] = SeedRun(seed=seed, macro_f1=value, seconds=seconds)
        _write(plan, runs, diverged)

    def drop(task: Task, _: str) -> None:
        variant, seed = missing[task.key]
        diverged[variant].add(seed)
        _write(plan, runs, diverged)

    if missing:
        progress.begin("ablate", total=len(wanted), done=len(wanted) - len(missing))
        tasks = [_task(plan, key, *each) for key, each in missing.items()]
        train_all(plan.study, "ablate", tasks, executor, progress, interrupt, keep, drop)
    return _write(plan, runs, diverged)


def _task(plan: Plan, key: str, knob: str | None, seed: int) -> Task:
    config = plan.config if knob is None else switched_off(plan.config, knob)
    return Task(key, config, seed, "search", snapshot=plan.study.snapshot(key))


def _key(knob: str | None, seed: int) -> str:
    return f"winner, seed {seed}" if knob is None else f"without {knob}, seed {seed}"


def _kept(plan: Plan) -> dict[str | None, Variant]:
    for one in (plan.study.read(Ablations) or Ablations()).found:
        if (one.trial, one.config) == (plan.trial, plan.config):
            return {variant.without: variant for variant in one.variants}
    return {}


def _write(
    plan: Plan, runs: Mapping[str | None, Mapping[int, SeedRun]], diverged: Mapping[str | None, set[int]]
) -> Ablation:
    variants = tuple(
        Variant(
            without=knob, runs=tuple(by_seed[seed] for seed in sorted(by_seed)), diverged=tuple(sorted(diverged[knob]))
        )
        for knob, by_seed in runs.items()
    )
    mine = Ablation(trial=plan.trial, config=plan.config, variants=variants)
    others = [
        one
        for one in (plan.study.read(Ablations) or Ablations()).found
        if (one.trial, one.config) != (mine.trial, mine.config)
    ]
    plan.study.write(Ablations(found=(*others, mine)))
    return mine


def _chosen(config: TrialConfig, only: Sequence[str]) -> tuple[str, ...]:
    for knob in only:
        if knob not in REGULARISERS:
            raise SearchError(
                f"--only takes one of {', '.join(REGULARISERS)}, got {knob!r}. "
                f"{did_you_mean(knob, REGULARISERS)}".strip()
            )
        if knob not in used(config):
            raise SearchError(
                f"--only {knob}: the winner does not use it, so there is nothing to switch off. It uses "
                f"{_listed(config)}."
            )
    if not used(config):
        raise SearchError(f"The winner uses no regulariser: {', '.join(REGULARISERS)} are all at their neutral values.")
    return tuple(knob for knob in used(config) if not only or knob in only)


def _listed(config: TrialConfig) -> str:
    return ", ".join(used(config)) or "none"
