"""A study is made readable in optuna-dashboard: notes on it and on its best trials, with pictures and the final model's
files.

The coordinator does this at the end of its stages; the dashboard itself only reads, and may be open all the while.
"""

import hashlib
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from optuna.trial import FrozenTrial

from search.dashboard import pictures
from search.dashboard.artifacts import attach, is_attached
from search.dashboard.notes import infeasible_note, study_note, trial_note
from search.errors import SearchError
from search.report.facts import Report, is_feasible, read_report
from search.report.page.html import PAGE
from search.report.page.paths import read_paths
from search.report.validation import read_validation
from search.study.predictions import Predictions, read_predictions
from search.study.records import DataRecord, Final
from search.study.study import Study
from search.study.winner import winning_spec

# a study's system attribute: whose note -> digests of what was written there last, and before
WRITTEN = "fmnist-search:notes"
INFEASIBLE_SHOWN = 50  # trials with a note
Drawings = dict[str, Callable[[], bytes | None]]  # name of a picture -> what draws it, if there is something to draw


def annotate(study: Study, valid_pixels: NDArray[np.uint8], test_pixels: NDArray[np.uint8] | None = None) -> None:
    """The study and its best trials have their notes and artifacts, as of now; a note that a person changed is left as
    it is.

    Shape: valid_pixels [N, 28, 28], the validation images; test_pixels [M, 28, 28], once the study has its result.
    """
    report, trials = read_report(study), study.trials()
    shown = _shown(report)
    for number in shown:
        found = read_validation(study, trials[number])
        _note(study, trial_note(report, trials[number], study.id, found), trials[number])
        _attach_new(study, _of_trial(study, trials[number], found, valid_pixels), trials[number])
    for trial in [trial for trial in trials if not is_feasible(trial)][:INFEASIBLE_SHOWN]:
        _note(study, infeasible_note(trial, study.id), trial)
    if report.final is not None:
        winner = None if report.final.trial is None else trials[report.final.trial]
        _attach_new(study, _of_test(study, report.final, test_pixels), winner)
        for path in sorted((study.folder / "export").glob("*")):
            attach(study, path.name, path.read_bytes(), winner)
        attach(study, f"{study.name}-best.toml", winning_spec(study).to_toml().encode())
        if (page := study.folder / PAGE).exists():  # before there is a result, one there is of a study since deleted
            attach(study, PAGE, page.read_bytes())
    _note(study, study_note(report, study.id, shown))


def _shown(report: Report) -> list[int]:
    """The winner first, then the others as the search ranked them."""
    ranked = [row.number for row in report.best if row.feasible and row.state == "complete"]
    return list(dict.fromkeys(([] if report.winner is None else [report.winner]) + ranked))


def _attach_new(study: Study, drawings: Drawings, trial: FrozenTrial | None) -> None:
    # What a network says of its images is the same whenever it is drawn, and drawing takes a fifth of a second.
    for name, draw in drawings.items():
        if not is_attached(study, name, trial) and (picture := draw()) is not None:
            attach(study, name, picture, trial)


def _of_trial(study: Study, trial: FrozenTrial, found: Predictions | None, pixels: NDArray[np.uint8]) -> Drawings:
    data, curve = study.read(DataRecord), trial.user_attrs.get("curve")
    drawn: Drawings = (
        {"learning-curve.png": lambda: pictures.learning_curve(trial.number, curve, read_paths(study))} if curve else {}
    )
    return drawn | (_of_answers(found, pixels, data.class_names, "validation") if found and data else {})


def _of_test(study: Study, final: Final, pixels: NDArray[np.uint8] | None) -> Drawings:
    try:
        found = read_predictions(study.folder, final)
    except SearchError:  # damaged: the report page says so, and what to do
        return {}
    return (
        _of_answers(found, pixels, [one.name for one in final.classes], "test") if found and pixels is not None else {}
    )


def _of_answers(found: Predictions, pixels: NDArray[np.uint8], names: Sequence[str], split: str) -> Drawings:
    return {
        f"{split}-confusion.png": lambda: pictures.confusion(
            found.labels, found.predicted[found.exported], names, split
        ),
        f"{split}-mistakes.png": lambda: pictures.mistakes(found, pixels, names, split),
    }


def _note(study: Study, body: str, trial: FrozenTrial | None = None) -> None:
    from optuna_dashboard._note import get_note_from_system_attrs, save_note_with_version  # two seconds to import

    storage, number = study.storage, study.id
    attributes = storage.get_study_system_attrs(number)
    key = "study" if trial is None else str(trial.number)
    written = attributes.get(WRITTEN, {})
    present = get_note_from_system_attrs(attributes, trial and trial._trial_id)
    before = _digest(present["body"])
    if present["body"] in ("", body) or before in written.get(key, ()):
        # First, so that a run killed in between knows the next time that the earlier note is no person's.
        storage.set_study_system_attr(number, WRITTEN, written | {key: [_digest(body), before]})
        if present["body"] != body:
            save_note_with_version(storage, number, trial and trial._trial_id, present["version"] + 1, body)


def _digest(body: str) -> str:
    return hashlib.sha256(body.encode()).hexdigest()[:16]
