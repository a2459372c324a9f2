"""The temperature that calibrates the winner's probabilities; never fitted on the test split."""

from statistics import geometric_mean

import numpy as np
from numpy.typing import NDArray

from fmnist.metrics import Ints
from fmnist.temperature import DECIMALS, FEWEST_IMAGES, fit_temperature
from search.job.stage import Stage
from search.report.validation import read_validation
from search.study.records import Candidate, Confirmation, DataRecord
from search.study.study import Study


def temperature_of(probabilities: NDArray[np.floating], labels: Ints) -> float | None:
    """Return the temperature fitted on a network's validation predictions; None if they are of fewer than 100 images.

    Shape: probabilities [N, C], labels [N].
    """
    return fit_temperature(probabilities, labels) if len(labels) >= FEWEST_IMAGES else None


def fitted_temperature(stage: Stage, winner: Candidate, before: Confirmation) -> float | None:
    """Return the temperature of the winner, or a point of a front; or None and show a message that says why.

    It is the geometric mean over its fresh seeds. Without fresh seeds it is fitted on the stored predictions of its
    trial, unless the earlier Confirmation has it: another machine may hold these predictions.
    """
    temperatures = [run.temperature for run in winner.runs if run.temperature is not None]
    if winner.runs and len(temperatures) == len(winner.runs):
        return round(geometric_mean(temperatures), DECIMALS)
    earlier = dict(zip(before.points, before.temperatures, strict=True)) | {before.winner: before.temperature}
    if not winner.runs and (known := earlier.get(winner.trial)) is not None:
        return known
    temperature = None if winner.runs else _of_search(stage.study, winner)
    if temperature is None:
        stage.progress.message(
            f"The final models' probabilities will not be calibrated: {_why_none(stage.study, winner)}."
        )
    return temperature


def _of_search(study: Study, winner: Candidate) -> float | None:
    stored = read_validation(study, study.trials()[winner.trial])
    return temperature_of(stored.probabilities[stored.exported], stored.labels) if stored else None


def _why_none(study: Study, winner: Candidate) -> str:
    data = study.read(DataRecord)
    if data is not None and data.valid < FEWEST_IMAGES:
        return f"a temperature takes at least {FEWEST_IMAGES} validation images, got {data.valid}"
    if winner.runs:
        return f"an earlier version trained trial {winner.trial} on fresh seeds and fitted no temperature"
    return f"the study's folder holds no predictions of trial {winner.trial} on the validation images"
