"""Ablation: retrain a study's winner without one regulariser at a time, on fresh seeds and the validation split."""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

from fmnist.config import TrialConfig
from fmnist.data.sources import Source, fingerprint
from fmnist.suggestions import did_you_mean
from search.errors import SearchError
from search.executors import Task
from search.job.estimate import trainings_seconds
from search.job.interrupt import Interrupt
from search.job.place import Place
from search.job.progress.base import Progress
from search.job.stage import Stage
from search.job.trainings import train_all
from search.report.ablation import REGULARISERS, switched_off, used
from search.report.page.html import PAGE, write_page
from search.report.render import read_report, write_report
from search.study.lock import noted_run, sole_run
from search.study.ownership import claim_folder, require_own_folder
from search.study.records import Ablation, Ablations, DataRecord, SeedRun, Variant
from search.study.study import Study, guarded
from search.study.winner import is_confirmed, winner

FIRST_SEED = 3000  # past the seeds of search, confirm and final


@dataclass(frozen=True)
class Variants:
    """The trainings of an ablation: the winner with and without each of its regularisers, on the same seeds."""

    trial: int
    config: TrialConfig
    knobs: tuple[str, ...]  # switched off one at a time
    seeds: tuple[int, ...]

    @property
    def names(self) -> tuple[str | None, ...]:
        """The variants: None for the unchanged winner, then the knobs that are switched off."""
        return (None, *self.knobs)

    def config_of(self, name: str | None) -> TrialConfig:
        """Return the configuration of the variant `name`."""
        return self.config if name is None else switched_off(self.config, name)

    def seconds(self, study: Study, place: Place) -> float:
        """Return the estimated time of all trainings."""
        configs = [self.config_of(name) for name in self.names for _ in self.seeds]
        data = study.read(DataRecord)
        assert data is not None, "a study with a winner has data"
        return trainings_seconds(configs, place, data)


def choose_variants(study: Study, source: Source, *, seeds: int, epochs: int | None, only: Sequence[str]) -> Variants:
    """Return the variants to train.

    Raises: SearchError if the study has no winner, uses none of the regularisers, or was made on other data.
    """
    trial, config = winner(study)
    if not is_confirmed(study):
        raise SearchError(
            f"The study {study.name!r} has no winner yet, its search or confirm stage is not over. "
            "Run the command that started it again, then ablate."
        )
    if (other := study.other_toolkit) is not None:
        raise SearchError(
            f"An ablation retrains the winner as it was; the study {study.name!r} was trained by version {other} of "
            "fmnist-search, in which some knobs had another meaning. Use that version, or run the study again under "
            "another --name."
        )
    config = TrialConfig.model_validate(config.model_dump() | ({"epochs": epochs} if epochs else {}))
    knobs = _chosen(config, only)
    data = study.read(DataRecord)
    if data is None or fingerprint(source.train()) != data.fingerprint:
        raise SearchError(
            f"The study {study.name!r} was made on other data than {source.name}; name its data with --data."
        )
    first_seed = FIRST_SEED + study.spec.seed
    return Variants(trial, config, knobs, tuple(range(first_seed, first_seed + seeds)))


def ablate(study: Study, variants: Variants, source: Source, place: Place, progress: Progress) -> Ablation:
    """Train every variant on every seed, store the scores in the study, and add them to its report.

    Trainings of earlier calls are not repeated.

    Raises: SearchError if a run is at work on the study, or a training fails. InterruptedRunError. StorageLostError.
    """
    storage = study.storage
    require_own_folder(study)
    with sole_run(study.folder, study.name, storage):
        claim_folder(study)
        is_server = storage.engine.name != "sqlite"
        with guarded(study, progress.message), noted_run(study) if is_server else nullcontext():
            with Interrupt() as interrupt, place.open(source, progress.message) as (executor, _):
                ablation = _train(Stage(study, study.spec, executor, progress, interrupt), variants)
            write_report(read_report(study), study.folder)
            write_page(study, study.folder / PAGE)
    return ablation


def _train(stage: Stage, variants: Variants) -> Ablation:
    before = _trained(stage.study, variants)
    names = tuple(dict.fromkeys((*before, *variants.names)))
    runs = {name: {run.seed: run for run in before[name].runs} if name in before else {} for name in names}
    diverged = {name: set(before[name].diverged) if name in before else set() for name in names}
    # Seed by seed, so that the variants are comparable at any time.
    trainings = [(name, seed) for seed in variants.seeds for name in variants.names]
    missing = {_key(name, seed): (name, seed) for name, seed in trainings if seed not in {*runs[name], *diverged[name]}}

    def keep(task: Task, value: float | None, seconds: float) -> None:
        assert value is not None
        name, seed = missing[task.key]
        runs[name][seed] = SeedRun(seed=seed, macro_f1=value, seconds=seconds)
        _write(stage.study, variants, runs, diverged)

    def drop(task: Task, _: str) -> None:
        name, seed = missing[task.key]
        diverged[name].add(seed)
        _write(stage.study, variants, runs, diverged)

    if missing:
        stage.progress.begin("ablate", total=len(trainings), done=len(trainings) - len(missing))
        tasks = [
            Task(key, variants.config_of(name), seed, "search", snapshot=stage.study.snapshot(key))
            for key, (name, seed) in missing.items()
        ]
        train_all(stage, "ablate", tasks, keep, drop)
    return _write(stage.study, variants, runs, diverged)


def _key(knob: str | None, seed: int) -> str:
    return f"winner, seed {seed}" if knob is None else f"without {knob}, seed {seed}"


def _trained(study: Study, variants: Variants) -> dict[str | None, Variant]:
    for ablation in (study.read(Ablations) or Ablations()).found:
        if _is_of(ablation, variants):
            return {variant.without: variant for variant in ablation.variants}
    return {}


def _is_of(ablation: Ablation, variants: Variants) -> bool:
    return (ablation.trial, ablation.config) == (variants.trial, variants.config)


def _write(
    study: Study,
    variants: Variants,
    runs: Mapping[str | None, Mapping[int, SeedRun]],
    diverged: Mapping[str | None, set[int]],
) -> Ablation:
    scores = tuple(
        Variant(
            without=knob,
            runs=tuple(by_seed[seed] for seed in sorted(by_seed)),
            diverged=tuple(sorted(diverged[knob])),
        )
        for knob, by_seed in runs.items()
    )
    ablation = Ablation(trial=variants.trial, config=variants.config, variants=scores)
    others = [other for other in (study.read(Ablations) or Ablations()).found if not _is_of(other, variants)]
    study.write(Ablations(found=(*others, ablation)))
    return ablation


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
