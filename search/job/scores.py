"""The scores of final networks on the test images, as records; nothing here opens the test split."""

from collections.abc import Sequence
from statistics import fmean, stdev

import numpy as np
from numpy.typing import NDArray

from fmnist.config import TrialConfig
from fmnist.metrics import Ints, Scores, bootstrap_interval, score
from fmnist.network import describe
from search.study.ensemble import ensemble_score
from search.study.records import ClassScore, FinalRun, FinalTraining, Teachers


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
