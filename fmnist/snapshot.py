"""A training at the end of one of its epochs, as a file from which it goes on as if nothing had happened. Safetensors,
never pickle.
"""

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
    """All that decides how a training goes on after `epoch`: weights, averaged weights, Adam's moments, random states;
    on the CPU.

    The schedule follows from the epoch.
    """

    epoch: int
    tensors: dict[str, Tensor]


def save_snapshot(path: Path, snapshot: Snapshot, about: Mapping[str, Any]) -> None:
    """The file holds the snapshot, and what it is `about` as JSON can say it; killed in between, it is as it was.

    Raises: FmnistError where it cannot be written.
    """
    try:
        write_in_place(path, save(snapshot.tensors, metadata={ABOUT: json.dumps({"epoch": snapshot.epoch, **about})}))
    except OSError as error:
        raise FmnistError(f"{path} must be writable: {error.strerror}. Free space there.") from error


def load_snapshot(path: Path) -> tuple[Snapshot, dict[str, Any]]:
    """The snapshot in the file, and what it is about.

    Raises: FmnistError where it is no whole snapshot. FileNotFoundError.
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
            f"{path} must be the snapshot of a training: {error}. Delete it; the training then starts anew."
        ) from error
