"""Where the files of a study lie: checkpoints, snapshots, report, export."""

from pathlib import Path

FOLDER = Path("studies")
RUNNING = "running"  # within a study's folder: snapshots of the trainings under way


def study_folder(name: str) -> Path:
    """Where the files of the study of that name go: checkpoints, report, export."""
    return FOLDER / name


def snapshot_path(study: str, key: str) -> Path:
    """Where the training of that key is kept while it runs."""
    return study_folder(study) / RUNNING / f"{key.replace(',', '').replace(' ', '-')}.safetensors"


def journal_path(name: str) -> Path:
    """Where the writes wait that the database of the study of that name did not take."""
    return study_folder(name) / "journal.jsonl"
