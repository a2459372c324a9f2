"""Whether the files in a study's folder are those that its records speak of."""

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
SAME_MODEL = 0.01  # macro F1; on another device some images change their class


def note_export(study: Study, folder: Path) -> None:
    """The study's record has the checksums of the export in `folder`."""
    study.append(ExportedFiles(files=_digests(folder)))


def require_export(study: Study, folder: Path) -> None:
    """The models in `folder` are those that the study exported there, or on another machine.

    Raises: SearchError.
    """
    kept = study.read_all(ExportedFiles)
    found = _digests(folder)
    if kept and found not in [each.files for each in kept]:
        known = kept[-1].files
        wrong = next((name for name in CHECKED if found.get(name) != known.get(name)), CONFIG)
        fault = "its checksum is another one" if wrong in found else "it is missing"
        raise SearchError(
            f"{folder / wrong} must be the file that the study {study.name!r} exported; {fault}. Delete "
            f"{folder}, and the command that began the study exports it again."
        )


def require_tested_model(checkpoint: Path, run: FinalRun, tested: Predictions | None, pixels: NDArray[uint8]) -> None:
    """Where an older version kept no checksum: the model says of the test images what the study's final model said.

    Shape: pixels [N, 28, 28].
    Raises: SearchError. FmnistError where the checkpoint cannot be loaded.
    """
    if run.checkpoint is not None or tested is None:
        return
    answers = predict(load_checkpoint(checkpoint), pixels, CPU)
    found = macro_f1(tested.labels, answers.argmax(axis=1), answers.shape[1])
    if abs(found - run.macro_f1) > SAME_MODEL:
        raise SearchError(
            f"{checkpoint} must be the model that the study tested, with macro F1 {f1(run.macro_f1)}; it has "
            f"{f1(found)}. Another study "
            "has written into the folder: restore it from a copy, or begin a new study with --name."
        )


def _digests(folder: Path) -> dict[str, str]:
    return {name: digest(folder / name) for name in CHECKED if (folder / name).exists()}


def digest(path: Path) -> str:
    """The file's BLAKE2b, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "blake2b").hexdigest()
