"""The end of a study: the winner retrained on train + validation with several seeds, then the one look at the test split.

This is the only module that opens the test split, and each opening is recorded in the study before the images are read.
"""

from pathlib import Path
from statistics import fmean, stdev

import numpy as np
import optuna
import torch
from numpy.typing import NDArray

from fmnist.checkpoint import CPU, Checkpoint, load_checkpoint
from fmnist.config import TrialConfig
from fmnist.data.images import SIDE, Images
from fmnist.data.sources import Source
from fmnist.data.splits import test_split
from fmnist.metrics import Scores, bootstrap_interval, score
from fmnist.model import flop_count, parameter_count
from fmnist.predict import predict
from fmnist.scoring import BATCH
from search.environment import now
from search.errors import SearchError
from search.executors import Executor, Task
from search.interrupt import Interrupt
from search.predictions import predictions_path
from search.progress import Progress
from search.records import Candidate, ClassScore, Final, FinalRun, FinalTraining, FinalTrainings, Opening
from search.spec import StudySpec
from search.study import append, read, snapshot_path, study_folder, write
from search.trainings import train_all

FIRST_SEED = 2000  # past the seeds of search and confirm
RESAMPLES, LEVEL = 2000, 0.95


class DivergedWinnerError(SearchError):
    """A final training of the winner left the road, as it would each time."""


def finalize(
    study: optuna.Study,
    spec: StudySpec,
    winner: Candidate,
    source: Source,
    executor: Executor,
    progress: Progress,
    interrupt: Interrupt,
    device: torch.device = CPU,
) -> Final:
    """The study has its Final, made now or by an earlier run, its networks scored on `device`; the test split is opened only if it was not.

    Raises: DivergedWinnerError, with the test split unopened. InterruptedRunError.
    """
    if (final := read(study, "final", Final)) is not None:
        return final
    trained = _retrain(study, spec, winner, executor, progress, interrupt)
    progress.message("Opening the test split, once.")
    final = _test(study, winner, trained, source, device)
    write(study, "final", final)
    return final


def evaluate(
    checkpoint: Checkpoint, source: Source, study: optuna.Study | None, device: torch.device
) -> tuple[Scores, tuple[float, float]]:
    """The network's scores on the test split with their bootstrap interval; the opening is recorded in its study, where that is at hand."""
    images = _open_test(source, study, by="evaluate", trial=None)
    if images.class_names != checkpoint.class_names:
        raise SearchError(f"The model knows the classes {checkpoint.class_names}, the data have {images.class_names}.")
    predictions = predict(checkpoint, images.pixels, device).argmax(axis=1)
    classes = len(images.class_names)
    interval = bootstrap_interval(images.labels, predictions[None], classes, resamples=RESAMPLES, level=LEVEL)
    return score(images.labels, predictions, classes), interval


def final_folder(study: optuna.Study, seed: int) -> Path:
    """Where the checkpoint of that final seed lies."""
    return study_folder(study.study_name) / "final" / f"seed-{seed}"


def has_models(study: optuna.Study) -> bool:
    """Whether the final models of the study, which is finished, are in its folder here."""
    final = read(study, "final", Final)
    return final is not None and final_folder(study, final.exported_seed).exists()


def _open_test(source: Source, study: optuna.Study | None, *, by: str, trial: int | None) -> Images:
    if study is not None:
        append(study, "openings", Opening(at=now(), by=by, trial=trial))
    return test_split(source)


def _retrain(
    study: optuna.Study, spec: StudySpec, winner: Candidate, executor: Executor, progress: Progress, interrupt: Interrupt
) -> tuple[FinalTraining, ...]:
    config = winner.config.model_copy(update={"epochs": spec.final.epochs or winner.config.epochs})
    kept = read(study, "final_training", FinalTrainings) or FinalTrainings()
    done = {run.seed: run for run in kept.runs if _is_trained(final_folder(study, run.seed), config)}

    def keep(task: Task, _: float | None, seconds: float) -> None:
        done[task.seed] = FinalTraining(seed=task.seed, seconds=seconds)
        write(study, "final_training", FinalTrainings(runs=tuple(done.values())))

    def drop(task: Task, reason: str) -> None:
        diverged.append(f"{reason}, in the final training with seed {task.seed}")

    diverged: list[str] = []
    seeds = range(FIRST_SEED + spec.seed, FIRST_SEED + spec.seed + spec.final.seeds)
    tasks = [
        Task(f"seed {seed}", config, seed, "full", final_folder(study, seed), snapshot_path(study.study_name, f"seed {seed}"))
        for seed in seeds
        if seed not in done
    ]
    if tasks:
        progress.begin("final", total=len(seeds), done=len(done))
        train_all(study, "finalize", tasks, executor, progress, interrupt, keep, drop, all_or_none=True)
    if diverged:
        raise DivergedWinnerError(diverged[0])
    return tuple(done[seed] for seed in seeds)


def _is_trained(folder: Path, config: TrialConfig) -> bool:
    # A search that went on after an interruption may have another winner than the one that was trained then.
    return folder.exists() and load_checkpoint(folder).config == config


def _test(study: optuna.Study, winner: Candidate, trained: tuple[FinalTraining, ...], source: Source, device: torch.device) -> Final:
    checkpoints = [load_checkpoint(final_folder(study, run.seed)) for run in trained]
    if device.type != "cpu":  # what can fail for want of memory fails before the test split is opened
        for checkpoint in checkpoints:
            predict(checkpoint, np.zeros((BATCH, SIDE, SIDE), np.uint8), device)
    images = _open_test(source, study, by="finalize", trial=winner.trial)
    probabilities = np.stack([predict(checkpoint, images.pixels, device) for checkpoint in checkpoints])  # [S, N, C]
    predictions = probabilities.argmax(axis=2)
    np.savez_compressed(predictions_path(study.study_name), labels=images.labels, probabilities=probabilities)
    classes = len(images.class_names)
    scores = [score(images.labels, row, classes) for row in predictions]
    low, high = bootstrap_interval(images.labels, predictions, classes, resamples=RESAMPLES, level=LEVEL)
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
        parameters=parameter_count(winner.config, classes),
        flops=flop_count(winner.config, classes),
        test_images=len(images),
    )


def _final_run(run: FinalTraining, scores: Scores) -> FinalRun:
    return FinalRun(seed=run.seed, macro_f1=scores.macro_f1, accuracy=scores.accuracy, seconds=run.seconds, folder=f"final/seed-{run.seed}")


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
