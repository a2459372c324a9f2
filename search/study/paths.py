"""Paths of a study's files: each study has a folder in its home."""

from pathlib import Path

HOME = Path("studies")  # in the folder where the command runs
RUNNING = "running"  # in a study's folder: snapshots of the running trainings


def snapshot_path(folder: Path, key: str) -> Path:
    """Return the path of the snapshot of the running training `key`."""
    return folder / RUNNING / f"{key.replace(',', '').replace(' ', '-')}.safetensors"
