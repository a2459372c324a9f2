"""The points of a front beside the winner: trained before the test split is opened, and scored when it is."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from fmnist.checkpoint import Checkpoint, load_checkpoint
from fmnist.config import TrialConfig
from fmnist.data.images import Images
from fmnist.metrics import paired_difference
from fmnist.network import describe
from search.executors import Task
from search.job.scores import load_trained, scored
from search.job.stage import Stage
from search.job.trainings import train_all
from search.samplers.names import Cost
from search.study.front import Front, FrontStep, point_folder, point_key
from search.study.predictions import Predictions, read_predictions
from search.study.records import (
    Candidate,
    Confirmation,
    Dropped,
    Final,
    FinalTraining,
    FinalTrainings,
)
from search.study.study import Study
from search.study.trials import costs_of_trial


@dataclass(frozen=True)
class TrainedPoints:
    """The final trainings of the points of a front, but for the winner.

    Args:
        against: The costs of the search; none if it was for one result.
        found: The trainings of each point.
        diverged: Points that have no result.
    """

    against: tuple[Cost, ...]
    found: Mapping[int, tuple[FinalTraining, ...]]
    diverged: tuple[Dropped, ...] = ()

    def load(self, study: Study) -> dict[int, list[Checkpoint]]:
        """Return the networks of each point. Raises: SearchError or FmnistError if one is missing or another one."""
        return {
            trial: [load_trained(_seed_folder(study, trial, run.seed), run) for run in runs]
            for trial, runs in self.found.items()
        }


def train_points(stage: Stage, winner: Candidate, first_seed: int) -> TrainedPoints:
    """Train the points that an earlier run has not trained, largest first; a point that diverges has no result.

    Raises: InterruptedRunError; completed trainings are kept.
    """
    study, spec = stage.study, stage.spec
    confirmation = study.read(Confirmation)
    if confirmation is None or not spec.search.against:
        return TrainedPoints((), {})
    configs = {candidate.trial: spec.final.trained(candidate.config) for candidate in confirmation.candidates}
    others = {
        trial: temperature
        for trial, temperature in zip(confirmation.points, confirmation.temperatures, strict=True)
        if trial != winner.trial
    }
    seeds = range(first_seed + spec.seed, first_seed + spec.seed + spec.final.seeds)
    tasks = {
        (trial, seed): _task(study, trial, seed, configs[trial], temperature)
        for trial, temperature in others.items()
        for seed in seeds
    }
    done, diverged = _trained(stage, tasks)
    whole = [trial for trial in others if all((trial, seed) in done for seed in seeds)]
    found = {trial: tuple(done[trial, seed] for seed in seeds) for trial in whole}
    return TrainedPoints(spec.search.against, found, diverged)


def _task(study: Study, trial: int, seed: int, config: TrialConfig, temperature: float | None) -> Task:
    key = f"trial {trial}, seed {seed}"
    folder = _seed_folder(study, trial, seed)
    return Task(key, config, seed, "full", folder, study.snapshot(key), temperature=temperature)


def _seed_folder(study: Study, trial: int, seed: int) -> Path:
    return point_folder(study, trial) / "final" / f"seed-{seed}"


def _trained(
    stage: Stage, tasks: Mapping[tuple[int, int], Task]
) -> tuple[dict[tuple[int, int], FinalTraining], tuple[Dropped, ...]]:
    """Return what is trained of the tasks after training what is missing, and the points that diverged."""
    study, record = stage.study, stage.study.read(FinalTrainings) or FinalTrainings()
    earlier = {(run.trial or 0, run.seed): run for run in record.points}
    done = {key: earlier[key] for key, task in tasks.items() if key in earlier and _is_trained(task, earlier[key])}
    places = {task.key: place for place, task in tasks.items()}
    diverged: dict[int, Dropped] = {}

    def keep(task: Task, _: float | None, seconds: float) -> None:
        assert task.checkpoint is not None
        trial, seed = places[task.key]
        seal = load_checkpoint(task.checkpoint).seal
        done[trial, seed] = FinalTraining(seed=seed, seconds=seconds, checkpoint=seal, trial=trial)
        study.write(record.model_copy(update={"points": tuple(done.values())}))

    def drop(task: Task, reason: str) -> None:
        trial, seed = places[task.key]
        diverged[trial] = Dropped(trial=trial, reason=f"{reason}, in the final training with seed {seed}")

    def cost(task: Task) -> float:
        return describe(task.config, 2).pass_flops * task.config.epochs

    missing = sorted((task for key, task in tasks.items() if key not in done), key=cost, reverse=True)
    if missing:
        stage.progress.begin("final", total=len(tasks), done=len(done))
        train_all(stage, "final", missing, keep, drop)
    return done, tuple(diverged.values())


def _is_trained(task: Task, run: FinalTraining) -> bool:
    # Another study may have written to the folder in the meantime; a resumed search may have another temperature.
    if task.checkpoint is None or not task.checkpoint.exists():
        return False
    checkpoint = load_checkpoint(task.checkpoint)
    is_wanted = checkpoint.config == task.config and checkpoint.origin.get("temperature") == task.temperature
    return is_wanted and run.checkpoint in (None, checkpoint.seal)


def write_front(
    study: Study,
    winner: Final,
    points: TrainedPoints,
    checkpoints: Mapping[int, Sequence[Checkpoint]],
    images: Images,
    device: torch.device,
) -> None:
    """Score the points on the images, and write each one's result and the front; the winner's is at hand."""
    assert winner.trial is not None, "a front follows from a search"
    finals, predictions = {winner.trial: winner}, {winner.trial: _read(study.folder, winner)}
    for trial, runs in points.found.items():
        folder = point_folder(study, trial)
        within = f"{folder.relative_to(study.folder).as_posix()}/"
        finals[trial] = scored(folder, trial, runs, checkpoints[trial], images, device, within=within)
        predictions[trial] = _read(folder, finals[trial])
        study.write(finals[trial], key=point_key(trial))
    costs = {trial: costs_of_trial(study, trial) for trial in finals}
    order = sorted(finals, key=lambda trial: costs[trial])
    steps = [_step(images, predictions, pair) for pair in _pairs(order, costs)]
    study.write(
        Front(
            against=points.against,
            points=tuple(order),
            costs=tuple(costs[trial] for trial in order),
            steps=tuple(steps),
            diverged=points.diverged,
        )
    )


def _read(folder: Path, final: Final) -> Predictions:
    read = read_predictions(folder, final)
    assert read is not None, "they were written when the networks were scored"
    return read


def _pairs(order: Sequence[int], costs: Mapping[int, tuple[float, ...]]) -> Iterator[tuple[int, int]]:
    """Yield each point with the last one before it that costs no more, if there is one."""
    for place, dearer in enumerate(order):
        for cheaper in reversed(order[:place]):
            if all(one <= other for one, other in zip(costs[cheaper], costs[dearer], strict=True)):
                yield dearer, cheaper
                break


def _step(images: Images, predictions: Mapping[int, Predictions], pair: tuple[int, int]) -> FrontStep:
    dearer, cheaper = pair
    found = paired_difference(
        images.labels, predictions[dearer].predicted, predictions[cheaper].predicted, len(images.class_names)
    )
    return FrontStep(trial=dearer, cheaper=cheaper, difference=found.value, low=found.low, high=found.high)
