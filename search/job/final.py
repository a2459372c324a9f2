"""The final stage: retrain the winner on train + validation with several seeds, then open the test split once.

This is the only module that opens the test split, and each opening is recorded in the study before an image is scored.
"""

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, stdev

import numpy as np
import torch
from numpy.typing import NDArray

from fmnist.checkpoint import CPU, Checkpoint, load_checkpoint
from fmnist.config import TrialConfig
from fmnist.cuda import release_memory
from fmnist.data.images import SIDE, Images
from fmnist.data.sources import Source, fingerprint
from fmnist.data.splits import test_fingerprint, test_split
from fmnist.metrics import Scores, bootstrap_interval, score
from fmnist.network import describe
from fmnist.predict import predict
from fmnist.scoring import BATCH
from search.errors import SearchError
from search.executors import Task
from search.job.stage import Stage
from search.job.trainings import train_all
from search.study.ensemble import ensemble_score
from search.study.environment import now
from search.study.predictions import keep_predictions
from search.study.records import (
    Candidate,
    ClassScore,
    DataRecord,
    Final,
    FinalRun,
    FinalTraining,
    FinalTrainings,
    Opening,
)
from search.study.study import Study

FIRST_SEED = 2000  # past the seeds of search and confirm
RESAMPLES, LEVEL = 2000, 0.95


class DivergedWinnerError(SearchError):
    """A final training of the winner diverged, and would diverge again."""


def make_final(stage: Stage, winner: Candidate, source: Source, device: torch.device = CPU) -> Final:
    """Return the study's Final, or else train the winner, open the test split, score on `device` and store the Final.

    Raises: DivergedWinnerError, before the test split is opened. InterruptedRunError.
    """
    study = stage.study
    if (final := study.read(Final)) is not None:
        return final
    trained = _retrain(stage, winner)
    stage.progress.message("Opening the test split, once.")
    final = _test(study, winner, trained, source, device)
    release_memory(device)
    study.write(final)
    return final


def evaluate(
    checkpoint: Checkpoint, source: Source, studies: Sequence[Study] | None, device: torch.device
) -> tuple[Scores, tuple[float, float]]:
    """Return the network's test scores with their bootstrap interval; record the opening in the studies it concerns.

    Raises: SearchError if the data have other classes; then nothing was scored or recorded.
    """
    images = test_split(source)
    if images.class_names != checkpoint.class_names:
        raise SearchError(
            f"The data must have the model's classes {checkpoint.class_names}, got {images.class_names}. Name other "
            "data with --data."
        )
    _rehearse([checkpoint], device)
    for study in studies or ():
        if is_test_of(study, source):
            _note_opening(study, by="evaluate", trial=None)
    predictions = predict(checkpoint, images.pixels, device).argmax(axis=1)
    classes = len(images.class_names)
    interval = bootstrap_interval(images.labels, predictions[None], classes, resamples=RESAMPLES, level=LEVEL)
    return score(images.labels, predictions, classes), interval


def is_test_of(study: Study, source: Source) -> bool:
    """Whether the source's test images are the test split of the study."""
    data = study.read(DataRecord)
    if data is None:
        return False
    if data.test_fingerprint is None:  # a study of version 0.1
        return data.fingerprint == fingerprint(source.train())
    return data.test_fingerprint == test_fingerprint(source)


def final_folder(study: Study, seed: int) -> Path:
    """Return the folder of that final seed's checkpoint."""
    return study.folder / "final" / f"seed-{seed}"


def has_models(study: Study) -> bool:
    """Whether the final models of the finished study are in its folder on this machine."""
    final = study.read(Final)
    if final is None or not (folder := final_folder(study, final.exported_seed)).exists():
        return False
    seal = next(run.checkpoint for run in final.runs if run.seed == final.exported_seed)
    # With a study on a server, another machine may have retrained the models.
    return seal is None or seal == load_checkpoint(folder).seal


def _note_opening(study: Study, *, by: str, trial: int | None) -> None:
    study.append(Opening(at=now(), by=by, trial=trial))


def _retrain(stage: Stage, winner: Candidate) -> tuple[FinalTraining, ...]:
    study, spec = stage.study, stage.spec
    config = winner.config.model_copy(update={"epochs": spec.final.epochs or winner.config.epochs})
    earlier = study.read(FinalTrainings) or FinalTrainings()
    done = {run.seed: run for run in earlier.runs if _is_trained(final_folder(study, run.seed), config, run)}

    def keep(task: Task, _: float | None, seconds: float) -> None:
        seal = load_checkpoint(final_folder(study, task.seed)).seal
        done[task.seed] = FinalTraining(seed=task.seed, seconds=seconds, checkpoint=seal)
        study.write(FinalTrainings(runs=tuple(done.values())))

    def drop(task: Task, reason: str) -> None:
        diverged.append(f"{reason}, in the final training with seed {task.seed}")

    diverged: list[str] = []
    seeds = range(FIRST_SEED + spec.seed, FIRST_SEED + spec.seed + spec.final.seeds)
    tasks = [
        Task(f"seed {seed}", config, seed, "full", final_folder(study, seed), study.snapshot(f"seed {seed}"))
        for seed in seeds
        if seed not in done
    ]
    if tasks:
        stage.progress.begin("final", total=len(seeds), done=len(done))
        train_all(stage, "final", tasks, keep, drop, all_or_none=True)
    if diverged:
        raise DivergedWinnerError(diverged[0])
    return tuple(done[seed] for seed in seeds)


def _is_trained(folder: Path, config: TrialConfig, run: FinalTraining) -> bool:
    # A search that resumed after an interruption may have another winner than the one trained before; and another study
    # may have written to the folder in the meantime.
    if not folder.exists():
        return False
    checkpoint = load_checkpoint(folder)
    return checkpoint.config == config and run.checkpoint in (None, checkpoint.seal)


def _test(
    study: Study, winner: Candidate, trained: tuple[FinalTraining, ...], source: Source, device: torch.device
) -> Final:
    checkpoints = [_load_trained(final_folder(study, run.seed), run) for run in trained]
    _rehearse(checkpoints, device)
    _note_opening(study, by="final", trial=winner.trial)
    images = test_split(source)
    probabilities = np.stack([predict(checkpoint, images.pixels, device) for checkpoint in checkpoints])  # [S, N, C]
    predictions = probabilities.argmax(axis=2)
    digest = keep_predictions(study.folder, images.labels, probabilities)
    classes = len(images.class_names)
    scores = [score(images.labels, row, classes) for row in predictions]
    low, high = bootstrap_interval(images.labels, predictions, classes, resamples=RESAMPLES, level=LEVEL)
    network = describe(winner.config, classes)
    return Final(
        trial=winner.trial,
        config=checkpoints[0].config,
        runs=tuple(_final_run(run, run_scores) for run, run_scores in zip(trained, scores, strict=True)),
        mean=fmean(run_scores.macro_f1 for run_scores in scores),
        sd=stdev(run_scores.macro_f1 for run_scores in scores) if len(scores) > 1 else None,
        low=low,
        high=high,
        level=LEVEL,
        resamples=RESAMPLES,
        classes=_class_scores(scores, images),
        confusion=tuple(tuple(int(count) for count in row) for row in scores[0].confusion),
        exported_seed=trained[0].seed,
        parameters=network.parameters,
        flops=network.flops,
        test_images=len(images),
        predictions=digest,
        ensemble=ensemble_score(images.labels, probabilities, resamples=RESAMPLES, level=LEVEL),
    )


def _rehearse(checkpoints: list[Checkpoint], device: torch.device) -> None:
    """Run out of GPU memory, if at all, before an opening of the test split is recorded."""
    if device.type == "cpu":
        return
    try:
        for checkpoint in checkpoints:
            predict(checkpoint, np.zeros((BATCH, SIDE, SIDE), np.uint8), device)
    except torch.OutOfMemoryError as error:
        raise SearchError(
            f"Scoring needs more memory than is free on {device}: {str(error).splitlines()[0]} Free memory, or run the "
            "same command with --device cpu. No opening of the test split is recorded."
        ) from None


def _load_trained(folder: Path, run: FinalTraining) -> Checkpoint:
    checkpoint = load_checkpoint(folder)
    if run.checkpoint not in (None, checkpoint.seal):
        raise SearchError(
            f"{folder} must hold the model that the study has trained; it was changed. Run the same command to train "
            "it again."
        )
    return checkpoint


def _final_run(run: FinalTraining, scores: Scores) -> FinalRun:
    return FinalRun(
        seed=run.seed,
        macro_f1=scores.macro_f1,
        accuracy=scores.accuracy,
        seconds=run.seconds,
        folder=f"final/seed-{run.seed}",
        checkpoint=run.checkpoint,
    )


def _class_scores(scores: list[Scores], images: Images) -> tuple[ClassScore, ...]:
    def mean(rows: list[NDArray[np.float64]], index: int) -> float:
        return fmean(float(row[index]) for row in rows)

    return tuple(
        ClassScore(
            name=name,
            precision=mean([run.precision for run in scores], index),
            recall=mean([run.recall for run in scores], index),
            f1=mean([run.f1 for run in scores], index),
            images=int(scores[0].support[index]),
        )
        for index, name in enumerate(images.class_names)
    )
