"""Export the final model of a finished study, or its final networks together, for other programs."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fmnist.checkpoint import load_checkpoint
from fmnist.data.preparation import RESIZED, Preparation
from fmnist.data.sources import Source, fingerprint
from fmnist.data.splits import test_fingerprint, test_pixels
from search.errors import SearchError
from search.export.formats import FORMATS, ONNX, WEIGHTS
from search.job.final import final_folder
from search.study.ensemble import ensemble_score, together
from search.study.front import point_folder, read_front
from search.study.ownership import require_own_folder
from search.study.predictions import Predictions, predictions_path, read_predictions
from search.study.records import DataRecord, EnsembleScore, Final
from search.study.study import Study
from search.study.winner import spec_of_trial, winning_spec

if TYPE_CHECKING:
    from search.export.export import ExportReport


def export_study(
    study: Study,
    source: Source,
    to: Path,
    announce: Callable[[str], None],
    files: tuple[str, ...] = tuple(FORMATS.values()),
    point: int | None = None,
) -> "ExportReport":
    """Write the study's final model to `to` in the formats of `files`, each compared with PyTorch on all test images.

    `point`: the trial of a point of the study's front whose model is written, if it is not the winner.
    Raises: SearchError if the study has no such model, was made on other data, or a format disagrees.
    """
    from search.export.agreement import note_export, require_tested_model
    from search.export.export import export_model  # imports ONNX Runtime, which only this last step of a run needs
    from search.export.model_facts import read_facts
    from search.export.onnx_export import calibration_pixels

    final, data, pixels = _final_of(study, source)
    folder, spec = study.folder, winning_spec(study)
    if point is not None and point != final.trial:
        final, folder = _final_of_point(study, point), point_folder(study, point)
        spec = spec_of_trial(study, point)
    announce(f"Exporting to {to}")
    predictions, checkpoint = read_predictions(folder, final), folder / "final" / f"seed-{final.exported_seed}"
    facts = read_facts(study, final, data, predictions, spec.to_toml())
    require_tested_model(checkpoint, facts.exported, predictions, pixels)
    report = export_model(
        checkpoint,
        to,
        test_pixels=pixels,
        test_labels=predictions.labels if predictions else None,
        calibration=calibration_pixels(source.train()),
        facts=facts,
        announce=announce,
        files=files,
    )
    if to.resolve() == (study.folder / "export").resolve():
        note_export(study, to)
    return report


def export_ensemble_of(study: Study, source: Source, to: Path, announce: Callable[[str], None]) -> "ExportReport":
    """Write the networks of all final seeds of the study to `to` as one ONNX file, compared with PyTorch.

    Its scores come from the stored predictions, or from the study's record; the test split is not opened.
    Raises: SearchError if the study has no final models or a single one, was made on other data, its predictions are
    needed and missing, or the file disagrees.
    """
    from search.export.agreement import require_tested_model
    from search.export.ensemble import export_ensemble
    from search.export.model_facts import read_facts

    final, data, pixels = _final_of(study, source)
    if len(final.runs) == 1:
        raise SearchError(
            f"An ensemble needs at least two final networks; the study {study.name!r} has one. Export without "
            "--ensemble, or run a study with more seeds under [final]."
        )
    predictions = read_predictions(study.folder, final)
    score = final.ensemble or _scored(final, predictions)
    if score is None:
        raise SearchError(
            f"The score of an ensemble comes from the stored predictions of its networks; those of the study "
            f"{study.name!r} are not here: there is no {predictions_path(study.folder)}. Run the command in the folder "
            "where the study ran."
        )
    announce(f"Exporting the ensemble of {score.members} networks to {to}")
    folders = [final_folder(study, run.seed) for run in final.runs]
    for folder, run in zip(folders, final.runs, strict=True):
        require_tested_model(folder, run, predictions, pixels)
    final = final.model_copy(update={"ensemble": score})
    facts = read_facts(study, final, data, predictions and together(predictions), winning_spec(study).to_toml())
    # What the networks would have without their temperature does not follow from the mean of their probabilities.
    facts = replace(facts, error_without_temperature=None)
    return export_ensemble(folders, to, test_pixels=pixels, facts=facts, announce=announce)


def export_points(study: Study, source: Source, announce: Callable[[str], None]) -> None:
    """Write the models of the points of the study's front beside the winner, each to its own folder, if not there.

    Raises: SearchError as `export_study` does.
    """
    for point in read_front(study):
        to = point_folder(study, point.trial) / "export"
        if not point.is_winner and not to.exists():
            export_study(study, source, to, announce, (WEIGHTS, ONNX), point.trial)


def preparation_of(study: Study) -> Preparation | None:
    """Return how the pictures of a study became images if an earlier version stretched them; else None, for the usual
    way.
    """
    final = study.read(Final)
    folder = None if final is None else final_folder(study, final.exported_seed)
    if folder is None or not folder.exists():
        return None
    preparation = load_checkpoint(folder).preparation
    return preparation if preparation is not None and preparation.form == RESIZED else None


def _final_of_point(study: Study, trial: int) -> Final:
    points = {point.trial: point.final for point in read_front(study)}
    if trial not in points:
        known = f"has the points {', '.join(map(str, points))}" if points else "was not searched against a cost"
        raise SearchError(
            f"A point is the number of a trial of the study's front, got {trial}; the study {study.name!r} {known}."
        )
    return points[trial]


def _scored(final: Final, predictions: Predictions | None) -> EnsembleScore | None:
    if predictions is None:
        return None
    return ensemble_score(predictions.labels, predictions.probabilities, resamples=final.resamples, level=final.level)


def _final_of(study: Study, source: Source) -> tuple[Final, DataRecord, NDArray[np.uint8]]:
    """Return the study's result, its data, and the pixels of the test images.

    Shape: [N, side, side], in colour [N, side, side, 3].
    Raises: SearchError if there is no result, the folder belongs to another study, or the data are other ones.
    """
    final, data = study.read(Final), study.read(DataRecord)
    if final is None or data is None:
        raise SearchError(
            f"The study {study.name!r} has no final model yet. Run the command that started it again to finish it."
        )
    require_own_folder(study)
    pixels = test_pixels(source)
    is_same_test = data.test_fingerprint in (None, test_fingerprint(source)) and len(pixels) == final.test_images
    if fingerprint(source.train()) != data.fingerprint or not is_same_test:
        raise SearchError(
            f"The study {study.name!r} was made on other data than {source.name}; name its data with --data."
        )
    return final, data, pixels
