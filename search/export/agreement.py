"""Checks that the files in a study's folder match its records."""

import hashlib
from pathlib import Path

from numpy import uint8
from numpy.typing import NDArray

from fmnist.checkpoint import CPU, load_checkpoint
from fmnist.metrics import macro_f1
from fmnist.predict import predict
from search.errors import SearchError
from search.export.formats import CONFIG, FORMATS
from search.study.predictions import Predictions
from search.study.records import ExportedFiles, FinalRun
from search.study.study import Study
from search.terminal.wording import f1

CHECKED = (*FORMATS.values(), CONFIG)
SAME_MODEL = 0.01  # macro F1; on another device some predictions differ


def note_export(study: Study, folder: Path) -> None:
    """Record the checksums of the export in `folder`."""
    study.append(ExportedFiles(files=_digests(folder)))


def require_export(study: Study, folder: Path) -> None:
    """Require that the models in `folder` are an export of the study, from any machine.

    Raises: SearchError if one is missing or its checksum differs.
    """
    exports = study.read_all(ExportedFiles)
    digests = _digests(folder)
    if exports and digests not in [export.files for export in exports]:
        expected = exports[-1].files
        wrong = next((name for name in CHECKED if digests.get(name) != expected.get(name)), CONFIG)
        fault = "its checksum differs" if wrong in digests else "it is missing"
        raise SearchError(
            f"{folder / wrong} must be the file that the study {study.name!r} exported; {fault}. Delete {folder} and "
            "repeat the command that started the study to export it again."
        )


def require_tested_model(checkpoint: Path, run: FinalRun, tested: Predictions | None, pixels: NDArray[uint8]) -> None:
    """If an older version stored no checksum, require that the model's test score is that of the final model.

    Shape: pixels [N, side, side], in colour [N, side, side, 3].
    Raises: SearchError if it is not. FmnistError if the checkpoint cannot be loaded.
    """
    if run.checkpoint is not None or tested is None:
        return
    probabilities = predict(load_checkpoint(checkpoint), pixels, CPU)
    score = macro_f1(tested.labels, probabilities.argmax(axis=1), probabilities.shape[1])
    if abs(score - run.macro_f1) > SAME_MODEL:
        raise SearchError(
            f"{checkpoint} must be the model that the study tested, with macro F1 {f1(run.macro_f1)}; it has "
            f"{f1(score)}. Another study has written to the folder: restore it from a copy, or start a new study with "
            "--name."
        )


def _digests(folder: Path) -> dict[str, str]:
    return {name: digest(folder / name) for name in CHECKED if (folder / name).exists()}


def digest(path: Path) -> str:
    """Return the file's BLAKE2b digest, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "blake2b").hexdigest()
