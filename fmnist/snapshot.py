"""Snapshots: the state of a training after an epoch, to resume it exactly. Safetensors, never pickle."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from fmnist.atomic import write_in_place
from fmnist.errors import FmnistError

ABOUT = "about"


@dataclass(frozen=True)
class Snapshot:
    """The state after `epoch`, on the CPU: weights, averaged weights, Adam's moments and random states.

    The learning rate follows from the epoch.
    """

    epoch: int
    tensors: dict[str, Tensor]


def save_snapshot(path: Path, snapshot: Snapshot, about: Mapping[str, Any]) -> None:
    """Write the snapshot and `about`, any JSON, to the file atomically.

    Raises: FmnistError if the file cannot be written.
    """
    try:
        write_in_place(path, save(snapshot.tensors, metadata={ABOUT: json.dumps({"epoch": snapshot.epoch, **about})}))
    except OSError as error:
        raise FmnistError(f"{path} must be writable: {error.strerror}. Free space there.") from error


def snapshot_epoch(path: Path) -> int:
    """Return the epoch of the snapshot, without its tensors; 0 if there is none that can be read."""
    try:
        with safe_open(path, framework="pt") as file:
            return int(json.loads((file.metadata() or {})[ABOUT])["epoch"])
    except (SafetensorError, OSError, LookupError, ValueError, TypeError):
        return 0


def load_snapshot(path: Path) -> tuple[Snapshot, dict[str, Any]]:
    """Load the snapshot and its `about` from the file.

    Raises: FmnistError if the file is not a complete snapshot. FileNotFoundError.
    """
    try:
        with safe_open(path, framework="pt") as file:
            about: dict[str, Any] = json.loads((file.metadata() or {})[ABOUT])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return Snapshot(int(about.pop("epoch")), tensors), about
    except FileNotFoundError:
        raise
    except (SafetensorError, OSError, LookupError, ValueError, TypeError, AttributeError) as error:
        raise FmnistError(
            f"{path} must be the snapshot of a training: {error}. Delete it; the training then starts again."
        ) from error
