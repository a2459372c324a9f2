"""The environment of a run, stored with the study: versions, hardware, commit and command line."""

import platform
import shlex
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from fmnist.machine import cores, processor
from search.storage.masking import masked
from search.study.records import Environment

PACKAGES = ("fmnist-search", "torch", "torchvision", "optuna", "numpy", "scikit-learn", "onnxruntime")


def now() -> str:
    """Return the time in UTC, ISO 8601 to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def capture_environment(*, device: str, workers: int, threads_per_worker: int) -> Environment:
    """Return the environment of this run."""
    return Environment(
        at=now(),
        command=shlex.join([Path(sys.argv[0]).name, *map(masked, sys.argv[1:])]),
        commit=_commit(),
        versions={"python": platform.python_version()} | {name: version(name) for name in PACKAGES},
        platform=platform.platform(),
        processor=processor(),
        cores=cores(),
        device=device,
        workers=workers,
        threads_per_worker=threads_per_worker,
    )


def _commit() -> str | None:
    # Of the toolkit's checkout, not of the current folder; an installed wheel has none.
    root = Path(__file__).parents[2]
    if not (root / ".git").exists():
        return None
    try:
        process = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=12"],
            cwd=root,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return process.stdout.strip()
