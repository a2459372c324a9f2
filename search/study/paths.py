"""Paths of a study's files: each study has a folder in its home."""

import os
from pathlib import Path

HOME = Path(os.environ.get("FMNIST_STUDIES") or "studies")  # by default in the folder where the command runs
STORAGE_FILE = HOME / "fmnist.db"
NAMED_STORAGE = os.environ.get("FMNIST_STORAGE")
DEFAULT_STORAGE = NAMED_STORAGE or f"sqlite:///{STORAGE_FILE}"
METRICS = "metrics.json"  # in an export: its figures for programs
RUNNING = "running"  # in a study's folder: snapshots of the running trainings


def snapshot_path(folder: Path, key: str) -> Path:
    """Return the path of the snapshot of the running training `key`."""
    return folder / RUNNING / f"{key.replace(',', '').replace(' ', '-')}.safetensors"
