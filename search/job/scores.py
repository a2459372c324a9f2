"""The scores of final networks on the test images, as records; nothing here opens the test split."""

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, stdev

import numpy as np
import torch
from numpy.typing import NDArray

from fmnist.checkpoint import Checkpoint, load_checkpoint
from fmnist.config import TrialConfig
from fmnist.data.images import Images
from fmnist.metrics import Ints, Scores, bootstrap_interval, score
from fmnist.network import describe
from fmnist.predict import predict
from search.errors import SearchError
from search.study.ensemble import ensemble_score
from search.study.predictions import keep_predictions
from search.study.records import ClassScore, Final, FinalRun, FinalTraining, Teachers

RESAMPLES, LEVEL = 2000, 0.95


def probabilities_of(checkpoints: Sequence[Checkpoint], images: Images, device: torch.device) -> NDArray[np.float32]:
    """Return the probabilities of the networks for the images. Shape: [S, N, C]."""
    return np.stack([predict(checkpoint, images.pixels, device) for checkpoint in checkpoints])


def scored(
    folder: Path,
    trial: int | None,
    trained: Sequence[FinalTraining],
    checkpoints: Sequence[Checkpoint],
    images: Images,
    device: torch.device,
    *,
    within: str = "",
) -> Final:
    """Return the result of these networks of one configuration, and keep their predictions in the folder.

    `within`: the folder, relative to that of the study, with a slash at its end.
    """
    probabilities = probabilities_of(checkpoints, images, device)
    predictions = probabilities.argmax(axis=2)
    try:
        digest = keep_predictions(folder, images.labels, probabilities)
    except OSError as error:
        raise SearchError(
            f"The predictions on the test split cannot be written to {folder}: {error.strerror or error}. Free space "
            "there, and run the same command again."
        ) from None
    classes = len(images.class_names)
    scores = [score(images.labels, row, classes) for row in predictions]
    low, high = bootstrap_interval(images.labels, predictions, classes, resamples=RESAMPLES, level=LEVEL)
    network = describe(checkpoints[0].config, classes)
    return Final(
        trial=trial,
        config=checkpoints[0].config,
        runs=final_runs(trained, scores, f"{within}final"),
        mean=fmean(run_scores.macro_f1 for run_scores in scores),
        sd=stdev(run_scores.macro_f1 for run_scores in scores) if len(scores) > 1 else None,
        low=low,
        high=high,
        level=LEVEL,
        resamples=RESAMPLES,
        classes=class_scores(scores, images.class_names),
        confusion=tuple(tuple(int(count) for count in row) for row in scores[0].confusion),
        exported_seed=trained[0].seed,
        parameters=network.parameters,
        flops=network.flops,
        test_images=len(images),
        predictions=digest,
        temperature=checkpoints[0].origin.get("temperature"),
        ensemble=ensemble_score(images.labels, probabilities, resamples=RESAMPLES, level=LEVEL),
    )


def load_trained(folder: Path, run: FinalTraining) -> Checkpoint:
    """Return the model of that training in the folder.

    Raises: SearchError if it is another one, FmnistError if it cannot be loaded.
    """
    checkpoint = load_checkpoint(folder)
    if run.checkpoint not in (None, checkpoint.seal):
        raise SearchError(
            f"{folder} must hold the model that the study has trained; it was changed. Run the same command to train "
            "it again."
        )
    return checkpoint


def final_runs(trained: Sequence[FinalTraining], scores: Sequence[Scores], folder: str) -> tuple[FinalRun, ...]:
    """Return the trainings with their scores; `folder` holds their checkpoints, relative to the study's folder."""
    return tuple(
        FinalRun(
            seed=run.seed,
            macro_f1=run_scores.macro_f1,
            accuracy=run_scores.accuracy,
            seconds=run.seconds,
            folder=f"{folder}/seed-{run.seed}",
            checkpoint=run.checkpoint,
            threads=run.threads,
        )
        for run, run_scores in zip(trained, scores, strict=True)
    )


def score_teachers(
    config: TrialConfig,
    trained: Sequence[FinalTraining],
    labels: Ints,
    probabilities: NDArray[np.floating],
    *,
    resamples: int,
    level: float,
) -> Teachers:
    """Return the scores of the teachers. Shape: labels [N], probabilities [T, N, C]."""
    classes, predictions = probabilities.shape[2], probabilities.argmax(axis=2)
    scores = [score(labels, row, classes) for row in predictions]
    low, high = bootstrap_interval(labels, predictions, classes, resamples=resamples, level=level)
    network, values = describe(config, classes), [run_scores.macro_f1 for run_scores in scores]
    return Teachers(
        config=config,
        runs=final_runs(trained, scores, "final/teachers"),
        mean=fmean(values),
        sd=stdev(values) if len(values) > 1 else None,
        low=low,
        high=high,
        parameters=network.parameters,
        flops=network.flops,
        ensemble=ensemble_score(labels, probabilities, resamples=resamples, level=level),
    )


def class_scores(scores: Sequence[Scores], names: Sequence[str]) -> tuple[ClassScore, ...]:
    """Return the scores of each class, averaged over the networks."""

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
        for index, name in enumerate(names)
    )
