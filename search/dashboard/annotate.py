"""The notes on a study and its best trials in optuna-dashboard, with pictures and the final model's files.

The coordinator writes them at the end of its stages; the dashboard only reads, and may be open at the same time.
"""

import hashlib
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from optuna.trial import FrozenTrial

from search.dashboard import pictures
from search.dashboard.artifacts import attach, best_file, is_attached
from search.dashboard.notes import infeasible_note, study_note, trial_note
from search.errors import SearchError
from search.report.facts import Report, read_report
from search.report.page.html import PAGE
from search.report.page.paths import read_paths
from search.report.validation import read_validation
from search.storage.optuna_private import trial_id
from search.storage.trial_record import TrialRecord
from search.study.predictions import Predictions, read_predictions
from search.study.records import DataRecord, Final
from search.study.study import Study
from search.study.trials import is_feasible
from search.study.winner import winning_spec

# A system attribute of the study: "study" or trial number -> digests of the last two notes written there.
WRITTEN = "fmnist-search:notes"
INFEASIBLE_SHOWN = 50  # trials with a note
Drawings = dict[str, Callable[[], bytes | None]]  # file name -> function that draws it; None if there is no content


def annotate(
    study: Study,
    valid_pixels: NDArray[np.uint8] | None,
    test_pixels: NDArray[np.uint8] | None = None,
    *,
    announce: Callable[[str], None],
) -> None:
    """Update the notes and artifacts of the study and its best trials, except notes that a person has edited.

    A file that cannot be written ends no job: it is announced. Shape: valid_pixels [N, side, side], the validation
    images, without which no picture of them is added; test_pixels [M, side, side], once the study has its result.
    """
    try:
        _annotate(study, valid_pixels, test_pixels)
    except OSError as error:
        announce(
            f"optuna-dashboard will not show all of the study: {error.filename or study.folder} cannot be read or "
            f"written ({error.strerror or error}). Mend that, and give the same command again."
        )


def _annotate(study: Study, valid_pixels: NDArray[np.uint8] | None, test_pixels: NDArray[np.uint8] | None) -> None:
    report, trials = read_report(study), study.trials()
    numbers = _ranked(report)
    for number in numbers:
        predictions = read_validation(study, trials[number])
        _note(study, trial_note(report, trials[number], study.id, predictions), trials[number])
        _attach_new(study, _trial_drawings(study, trials[number], predictions, valid_pixels), trials[number])
    for trial in [trial for trial in trials if not is_feasible(trial)][:INFEASIBLE_SHOWN]:
        _note(study, infeasible_note(trial, study.id), trial)
    if report.final is not None:
        winner = None if report.final.trial is None else trials[report.final.trial]
        _attach_new(study, _test_drawings(study, report.final, test_pixels), winner)
        for path in sorted((study.folder / "export").glob("*")):
            if path.is_file():
                attach(study, path.name, path.read_bytes(), winner)
        attach(study, best_file(study.name), winning_spec(study).to_toml(is_short=True).encode())
        if (page := study.folder / PAGE).exists():  # without a result, the page is of an earlier, deleted study
            attach(study, PAGE, page.read_bytes())
    _note(study, study_note(report, study.id, numbers))


def _ranked(report: Report) -> list[int]:
    """Return the winner, then the best trials of the search in order."""
    ranked = [row.number for row in report.best if row.feasible and row.state == "complete"]
    return list(dict.fromkeys(([] if report.winner is None else [report.winner]) + ranked))


def _attach_new(study: Study, drawings: Drawings, trial: FrozenTrial | None) -> None:
    # A trial's predictions do not change, and drawing them takes a fifth of a second.
    for name, draw in drawings.items():
        if not is_attached(study, name, trial) and (picture := draw()) is not None:
            attach(study, name, picture, trial)


def _trial_drawings(
    study: Study, trial: FrozenTrial, predictions: Predictions | None, pixels: NDArray[np.uint8] | None
) -> Drawings:
    data, curve = study.read(DataRecord), TrialRecord(trial).curve
    drawings: Drawings = {}
    if curve:
        drawings["learning-curve.png"] = lambda: pictures.learning_curve(trial.number, curve, read_paths(study))
    if predictions and data and pixels is not None:
        drawings |= _prediction_drawings(predictions, pixels, data.class_names, "validation")
    return drawings


def _test_drawings(study: Study, final: Final, pixels: NDArray[np.uint8] | None) -> Drawings:
    try:
        predictions = read_predictions(study.folder, final)
    except SearchError:  # damaged; the report page states this and the next step
        return {}
    if predictions is None or pixels is None:
        return {}
    return _prediction_drawings(predictions, pixels, [score.name for score in final.classes], "test")


def _prediction_drawings(
    predictions: Predictions, pixels: NDArray[np.uint8], names: Sequence[str], split: str
) -> Drawings:
    labels, predicted = predictions.labels, predictions.predicted[predictions.exported]
    return {
        f"{split}-confusion.png": lambda: pictures.confusion(labels, predicted, names, split),
        f"{split}-mistakes.png": lambda: pictures.mistakes(predictions, pixels, names, split),
    }


def _note(study: Study, body: str, trial: FrozenTrial | None = None) -> None:
    from optuna_dashboard._note import get_note_from_system_attrs, save_note_with_version  # two seconds to import

    storage, number = study.storage, study.id
    attributes = storage.get_study_system_attrs(number)
    key = "study" if trial is None else str(trial.number)
    written = attributes.get(WRITTEN, {})
    present = get_note_from_system_attrs(attributes, trial and trial_id(trial))
    digest = _digest(present["body"])
    if present["body"] in ("", body) or digest in written.get(key, ()):
        # Stored first: if the run is killed in between, the next one still recognises the note as its own.
        storage.set_study_system_attr(number, WRITTEN, written | {key: [_digest(body), digest]})
        if present["body"] != body:
            save_note_with_version(storage, number, trial and trial_id(trial), present["version"] + 1, body)


def _digest(body: str) -> str:
    return hashlib.sha256(body.encode()).hexdigest()[:16]
