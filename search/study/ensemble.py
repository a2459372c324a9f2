"""The score of several networks whose probabilities are averaged, from their stored predictions. No torch."""

import numpy as np
from numpy.typing import NDArray

from fmnist.metrics import Floats, Ints, bootstrap_interval, score
from search.study.predictions import Predictions
from search.study.records import EnsembleScore, Final
from search.terminal.wording import counted, f1


def averaged(probabilities: NDArray[np.floating]) -> Floats:
    """Return the mean of the networks' probabilities. Shape: [S, N, C] -> [N, C]."""
    return np.asarray(probabilities.mean(axis=0, dtype=np.float64))


def ensemble_score(
    labels: Ints, probabilities: NDArray[np.floating], *, resamples: int, level: float
) -> EnsembleScore | None:
    """Return the scores of the averaged probabilities; None for a single network, which is no ensemble.

    Shape: labels [N]; probabilities [S, N, C] of S networks.
    """
    members, _, classes = probabilities.shape
    if members == 1:
        return None
    predicted = averaged(probabilities).argmax(axis=1)
    scores = score(labels, predicted, classes)
    low, high = bootstrap_interval(labels, predicted[None], classes, resamples=resamples, level=level)
    return EnsembleScore(members=members, macro_f1=scores.macro_f1, accuracy=scores.accuracy, low=low, high=high)


def together(predictions: Predictions) -> Predictions:
    """Return the predictions of the ensemble, as of a single network."""
    return Predictions(predictions.labels, averaged(predictions.probabilities)[None], exported=0)


def ensemble_sentence(final: Final) -> str:
    """Return the ensemble's score as a sentence that names it as what it is; empty without one."""
    if (ensemble := final.ensemble) is None:
        return ""
    together = f"The {ensemble.members} networks together, averaged: {f1(ensemble.macro_f1)}"
    return f"{together}, which is not the score of a single network."


def teachers_sentence(final: Final) -> str:
    """Return the scores of a student's teachers as a sentence that names them as such; empty without any."""
    if (teachers := final.teachers) is None:
        return ""
    spread = "" if teachers.sd is None else f" ± {f1(teachers.sd)}"
    averaged = "" if teachers.ensemble is None else f", averaged {f1(teachers.ensemble.macro_f1)}"
    return (
        f"The scored networks are students. The {counted(len(teachers.runs), 'teacher')} alone: "
        f"{f1(teachers.mean)}{spread}{averaged}."
    )
