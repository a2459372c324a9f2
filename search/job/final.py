"""The end of a study: the winner retrained on train + validation with several seeds, then the one look at the test
split.

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
    """A final training of the winner left the road, as it would each time."""


def make_final(stage: Stage, winner: Candidate, source: Source, device: torch.device = CPU) -> Final:
    """The study has its Final, made now or by an earlier run, its networks scored on `device`; the test split is opened
    only if it was not.

    Raises: DivergedWinnerError, with the test split unopened. InterruptedRunError.
    """
    study = stage.study
    if (final := study.read(Final)) is not None:
        return final
    trained = _retrain(stage, winner)
    stage.progress.message("Opening the test split, once.")
    final = _test(study, winner, trained, source, device)
    release_memory(device)  # the networks are needed no more
    study.write(final)
    return final


def evaluate(
    checkpoint: Checkpoint, source: Source, studies: Sequence[Study] | None, device: torch.device
) -> tuple[Scores, tuple[float, float]]:
    """The network's scores on the test split with their bootstrap interval; an opening of each of the studies whose
    test images these are.

    Raises: SearchError where the data have other classes; then nothing was scored, and nothing is recorded.
    """
    images = test_split(source)
    if images.class_names != checkpoint.class_names:
        raise SearchError(f"The model knows the classes {checkpoint.class_names}, the data have {images.class_names}.")
    _rehearse([checkpoint], device)
    for study in studies or ():
        if is_test_of(study, source):
            _note_opening(study, by="evaluate", trial=None)
    predictions = predict(checkpoint, images.pixels, device).argmax(axis=1)
    classes = len(images.class_names)
    interval = bootstrap_interval(images.labels, predictions[None], classes, resamples=RESAMPLES, level=LEVEL)
    return score(images.labels, predictions, classes), interval


def is_test_of(study: Study, source: Source) -> bool:
    """Whether the source's test images are those that the study keeps for its end."""
    data = study.read(DataRecord)
    if data is None:
        return False
    if data.test_fingerprint is None:  # a study of version 0.1
        return data.fingerprint == fingerprint(source.train())
    return data.test_fingerprint == test_fingerprint(source)


def final_folder(study: Study, seed: int) -> Path:
    """Where the checkpoint of that final seed lies."""
    return study.folder / "final" / f"seed-{seed}"


def has_models(study: Study) -> bool:
    """Whether the final models of the study, which is finished, are in its folder here."""
    final = study.read(Final)
    if final is None or not (folder := final_folder(study, final.exported_seed)).exists():
        return False
    seal = next(run.checkpoint for run in final.runs if run.seed == final.exported_seed)
    return seal in (
        None,
        load_checkpoint(folder).seal,
    )  # of a study on a server, another machine may have trained the models again


def _note_opening(study: Study, *, by: str, trial: int | None) -> None:
    study.append(Opening(at=now(), by=by, trial=trial))


def _retrain(stage: Stage, winner: Candidate) -> tuple[FinalTraining, ...]:
    study, spec = stage.study, stage.spec
    config = winner.config.model_copy(update={"epochs": spec.final.epochs or winner.config.epochs})
    kept = study.read(FinalTrainings) or FinalTrainings()
    done = {run.seed: run for run in kept.runs if _is_trained(final_folder(study, run.seed), config, run)}

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
    # A search that went on after an interruption may have another winner than the one that was trained then; and what
    # another study has written there meanwhile is trained over.
    if not folder.exists():
        return False
    checkpoint = load_checkpoint(folder)
    return checkpoint.config == config and run.checkpoint in (None, checkpoint.seal)


def _test(
    study: Study, winner: Candidate, trained: tuple[FinalTraining, ...], source: Source, device: torch.device
) -> Final:
    checkpoints = [_trained(final_folder(study, run.seed), run) for run in trained]
    _rehearse(checkpoints, device)
    _note_opening(study, by="final", trial=winner.trial)
    images = test_split(source)
    probabilities = np.stack([predict(checkpoint, images.pixels, device) for checkpoint in checkpoints])  # [S, N, C]
    predictions = probabilities.argmax(axis=2)
    kept = keep_predictions(study.folder, images.labels, probabilities)
    classes = len(images.class_names)
    scores = [score(images.labels, row, classes) for row in predictions]
    low, high = bootstrap_interval(images.labels, predictions, classes, resamples=RESAMPLES, level=LEVEL)
    network = describe(winner.config, classes)
    return Final(
        trial=winner.trial,
        config=checkpoints[0].config,
        runs=tuple(_final_run(run, one) for run, one in zip(trained, scores, strict=True)),
        mean=fmean(one.macro_f1 for one in scores),
        sd=stdev(one.macro_f1 for one in scores) if len(scores) > 1 else None,
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
        predictions=kept,
    )


def _rehearse(checkpoints: list[Checkpoint], device: torch.device) -> None:
    """What can fail for want of memory on a GPU fails before an opening of the test split is recorded."""
    if device.type == "cpu":
        return
    try:
        for checkpoint in checkpoints:
            predict(checkpoint, np.zeros((BATCH, SIDE, SIDE), np.uint8), device)
    except torch.OutOfMemoryError as error:
        raise SearchError(
            f"Scoring needs more memory than is free on {device}: {str(error).splitlines()[0]} Free it, or give the "
            "same command with "
            "--device cpu. No opening of the test split is recorded."
        ) from None


def _trained(folder: Path, run: FinalTraining) -> Checkpoint:
    checkpoint = load_checkpoint(folder)
    if run.checkpoint not in (None, checkpoint.seal):
        raise SearchError(
            f"{folder} must hold the model that the study has trained; it was changed. Give the same command to train "
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
            precision=mean([one.precision for one in scores], index),
            recall=mean([one.recall for one in scores], index),
            f1=mean([one.f1 for one in scores], index),
            images=int(scores[0].support[index]),
        )
        for index, name in enumerate(images.class_names)
    )
