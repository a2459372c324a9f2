"""Where the files of a study lie: each study has a folder of its own in its home."""

from pathlib import Path

HOME = Path("studies")  # in the folder where the command runs
RUNNING = "running"  # within a study's folder: snapshots of the trainings under way


def snapshot_path(folder: Path, key: str) -> Path:
    """Where the training of that key of the study of that folder is kept while it runs."""
    return folder / RUNNING / f"{key.replace(',', '').replace(' ', '-')}.safetensors"


def journal_path(folder: Path) -> Path:
    """Where the writes wait that the database of the study of that folder did not take."""
    return folder / "journal.jsonl"
