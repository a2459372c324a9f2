"""The final model of a finished study, written once more for other programs."""

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
    """`to` holds the study's final model in the formats of `files`, each compared with PyTorch on all test images.

    Raises: SearchError where the study has no final model, was made on other data, or a format disagrees.
    """
    from search.export.agreement import note_export, require_tested_model
    from search.export.export import export_model  # brings ONNX Runtime, and is the last that a run does
    from search.export.model_facts import read_facts
    from search.export.onnx_export import calibration_pixels

    final, data = study.read(Final), study.read(DataRecord)
    if final is None or data is None:
        raise SearchError(
            f"The study {study.name!r} has no final model yet. The command that began it brings it to its end."
        )
    require_own_folder(study)
    train, pixels = source.train(), test_pixels(source)
    is_same_test = data.test_fingerprint in (None, test_fingerprint(source)) and len(pixels) == final.test_images
    if fingerprint(train) != data.fingerprint or not is_same_test:
        raise SearchError(
            f"The study {study.name!r} was made on other data than {source.name}; name its own with --data."
        )
    announce(f"Exporting to {to}")
    tested, checkpoint = read_predictions(study.folder, final), final_folder(study, final.exported_seed)
    facts = read_facts(study, final, data, tested, winning_spec(study).to_toml())
    require_tested_model(checkpoint, facts.exported, tested, pixels)
    exported = export_model(
        checkpoint,
        to,
        test_pixels=pixels,
        test_labels=tested.labels if tested else None,
        calibration=calibration_pixels(train),
        facts=facts,
        announce=announce,
        files=files,
    )
    if to.resolve() == (study.folder / "export").resolve():
        note_export(study, to)
    return exported
