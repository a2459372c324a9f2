"""Export the final model of a finished study for other programs."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from fmnist.data.sources import Source, fingerprint
from fmnist.data.splits import test_fingerprint, test_pixels
from search.errors import SearchError
from search.export.formats import FORMATS
from search.job.final import final_folder
from search.study.ownership import require_own_folder
from search.study.predictions import read_predictions
from search.study.records import DataRecord, Final
from search.study.study import Study
from search.study.winner import winning_spec

if TYPE_CHECKING:
    from search.export.export import ExportReport


def export_study(
    study: Study,
    source: Source,
    to: Path,
    announce: Callable[[str], None],
    files: tuple[str, ...] = tuple(FORMATS.values()),
) -> "ExportReport":
    """Write the study's final model to `to` in the formats of `files`, each compared with PyTorch on all test images.

    Raises: SearchError if the study has no final model, was made on other data, or a format disagrees.
    """
    from search.export.agreement import note_export, require_tested_model
    from search.export.export import export_model  # imports ONNX Runtime, which only this last step of a run needs
    from search.export.model_facts import read_facts
    from search.export.onnx_export import calibration_pixels

    final, data = study.read(Final), study.read(DataRecord)
    if final is None or data is None:
        raise SearchError(
            f"The study {study.name!r} has no final model yet. Run the command that started it again to finish it."
        )
    require_own_folder(study)
    train, pixels = source.train(), test_pixels(source)
    is_same_test = data.test_fingerprint in (None, test_fingerprint(source)) and len(pixels) == final.test_images
    if fingerprint(train) != data.fingerprint or not is_same_test:
        raise SearchError(
            f"The study {study.name!r} was made on other data than {source.name}; name its data with --data."
        )
    announce(f"Exporting to {to}")
    predictions, checkpoint = read_predictions(study.folder, final), final_folder(study, final.exported_seed)
    facts = read_facts(study, final, data, predictions, winning_spec(study).to_toml())
    require_tested_model(checkpoint, facts.exported, predictions, pixels)
    report = export_model(
        checkpoint,
        to,
        test_pixels=pixels,
        test_labels=predictions.labels if predictions else None,
        calibration=calibration_pixels(train),
        facts=facts,
        announce=announce,
        files=files,
    )
    if to.resolve() == (study.folder / "export").resolve():
        note_export(study, to)
    return report
