"""The best trials' predictions on the validation images, for looking at their mistakes. No torch.

The study's folder holds one file for each trial that is among the best, or on the front of a search against costs.
"""

import io
from collections.abc import Sequence
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from optuna.trial import FrozenTrial

from fmnist.metrics import macro_f1
from search.executors import Predicted
from search.report.facts import BEST_SHOWN
from search.study.front import dominates
from search.study.predictions import Predictions
from search.study.study import Study
from search.study.trials import is_eligible, value_of

FOLDER = "validation"  # within the study's folder
SAME_FIGURE = 1e-6  # macro F1; rounding to probabilities may decide a tie between two classes differently


def predictions_path(study: Study, trial: int) -> Path:
    """Return the path of a trial's predictions; the file exists if the trial is among the best."""
    return study.folder / FOLDER / f"trial-{trial}.npz"


def keep_predictions(study: Study, trial: int, predicted: Predicted) -> str:
    """Store the predictions of a complete trial if it is among the best or on the front, and delete those of trials
    that are no longer.

    Returns an error message if that failed, which ends no search; otherwise "".
    """
    trials = study.trials()
    stored = {number for number in _stored(study) if number < len(trials)}  # the files may be of a deleted study
    there = {*stored, trial}
    best = sorted(there, key=lambda number: _rank(trials[number]), reverse=True)[:BEST_SHOWN]
    best += [number for number in there if _is_on_front(trials[number], [trials[other] for other in there])]
    try:
        if trial in best:
            _write(predictions_path(study, trial), predicted)
        for number in _stored(study) - set(best):
            predictions_path(study, number).unlink(missing_ok=True)
    except OSError as error:
        return (
            f"trial {trial}: its predictions on the validation images could not be stored ({error.strerror or error}); "
            "its score was."
        )
    return ""


def read_validation(study: Study, trial: FrozenTrial) -> Predictions | None:
    """Return the trial's predictions; None if there are none, or the file does not match the trial's score."""
    try:
        with predictions_path(study, trial.number).open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            labels, probabilities = arrays["labels"].astype(np.int64), arrays["probabilities"]
    except (OSError, ValueError, KeyError, EOFError, TypeError, BadZipFile):
        return None
    classes, value = probabilities.shape[-1], value_of(trial)
    if value is None or probabilities.shape != (len(labels), classes) or not len(labels) or labels.max() >= classes:
        return None
    matches = abs(macro_f1(labels, probabilities.argmax(axis=1), classes) - value) < SAME_FIGURE
    return Predictions(labels, probabilities[None], exported=0) if matches else None


def _write(path: Path, predicted: Predicted) -> None:
    file = io.BytesIO()
    np.savez(file, labels=predicted.labels.astype(np.uint8), probabilities=predicted.probabilities)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")  # one process writes it; a file left by a killed run is overwritten
    part.write_bytes(file.getbuffer())
    part.replace(path)


def _stored(study: Study) -> set[int]:
    stems = (path.stem.removeprefix("trial-") for path in (study.folder / FOLDER).glob("trial-*.npz"))
    return {int(stem) for stem in stems if stem.isdecimal()}


def _is_on_front(trial: FrozenTrial, others: Sequence[FrozenTrial]) -> bool:
    (own, *costs), rest = trial.values or [0.0], [other.values for other in others if other.values]
    return bool(costs) and is_eligible(trial) and not any(dominates(f1, each, own, costs) for f1, *each in rest)


def _rank(trial: FrozenTrial) -> tuple[bool, float]:
    value = value_of(trial)
    return is_eligible(trial), float("-inf") if value is None else value
