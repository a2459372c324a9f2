"""What the networks of the best trials said of the validation images, for looking at their mistakes. No torch.

A file a trial in the study's folder, as long as the trial is among the best: the score alone does not say where a
network errs.
"""

import io
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from optuna.trial import FrozenTrial

from fmnist.metrics import macro_f1
from search.executors import Predicted
from search.report.facts import BEST_SHOWN, is_feasible
from search.study.predictions import Predictions
from search.study.study import Study
from search.study.trials import value_of

FOLDER = "validation"  # within the study's
SAME_FIGURE = 1e-6  # macro F1; a tie between two classes may go either way once it is a probability


def predictions_path(study: Study, trial: int) -> Path:
    """Where those of the trial of that number lie, if it is among the best."""
    return study.folder / FOLDER / f"trial-{trial}.npz"


def keep_predictions(study: Study, trial: int, predicted: Predicted) -> str:
    """Those of `trial`, which is complete, are kept if it is among the best; those of a trial that no longer is are
    gone.

    Returns why they could not be kept, which stops nothing; "" where they were, or need not be.
    """
    trials = study.trials()
    there = {number for number in _kept(study) if number < len(trials)}  # the folder may be of a study since deleted
    best = sorted({*there, trial}, key=lambda number: _rank(trials[number]), reverse=True)[:BEST_SHOWN]
    try:
        if trial in best:
            _write(predictions_path(study, trial), predicted)
        for number in _kept(study) - set(best):
            predictions_path(study, number).unlink(missing_ok=True)
    except OSError as error:
        return (
            f"trial {trial}: its answers on the validation images could not be kept ({error.strerror or error}); "
            "its score is."
        )
    return ""


def read_validation(study: Study, trial: FrozenTrial) -> Predictions | None:
    """What the network of that trial said; None where it was not kept, or the file holds something else."""
    try:
        with predictions_path(study, trial.number).open("rb") as file, np.load(file, allow_pickle=False) as kept:
            labels, probabilities = kept["labels"].astype(np.int64), kept["probabilities"]
    except (OSError, ValueError, KeyError, EOFError, TypeError, BadZipFile):
        return None
    classes, value = probabilities.shape[-1], value_of(trial)
    if value is None or probabilities.shape != (len(labels), classes) or not len(labels) or labels.max() >= classes:
        return None
    is_its_own = abs(macro_f1(labels, probabilities.argmax(axis=1), classes) - value) < SAME_FIGURE
    return Predictions(labels, probabilities[None], exported=0) if is_its_own else None


def _write(path: Path, predicted: Predicted) -> None:
    file = io.BytesIO()
    np.savez(file, labels=predicted.labels.astype(np.uint8), probabilities=predicted.probabilities)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")  # one process writes it; killed in between, it is written over
    part.write_bytes(file.getbuffer())
    part.replace(path)


def _kept(study: Study) -> set[int]:
    stems = (path.stem.removeprefix("trial-") for path in (study.folder / FOLDER).glob("trial-*.npz"))
    return {int(stem) for stem in stems if stem.isdecimal()}


def _rank(trial: FrozenTrial) -> tuple[bool, float]:
    value = value_of(trial)
    return is_feasible(trial), float("-inf") if value is None else value
