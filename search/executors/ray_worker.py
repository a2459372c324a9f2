"""What runs on a node of a Ray cluster: it trains one task after another and yields its events, with the files that
they left.
"""

import tempfile
import threading
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch

from fmnist.data.images import Images
from fmnist.data.splits import SearchSplits
from search.executors import Event, Finished, Kept, Task
from search.executors.training import Material, Setup, Unusable, events_of


@dataclass(frozen=True)
class Ready:
    """The worker has what it needs, and trains."""


@dataclass(frozen=True, eq=False)
class Carried:
    """Files that a task left on the worker's node, for the coordinator to keep."""

    kind: Literal["snapshot", "checkpoint"]
    files: dict[str, bytes]


class Trainer:
    """An actor; `train` and `stop` run in two threads of it."""

    def __init__(self, setup: Setup, splits: SearchSplits, full: Images, origin: dict[str, Any]) -> None:
        self._setup, self._material = setup, Material(splits, lambda: full, origin)
        self._stop = threading.Event()
        self._key = ""

    def train(self, task: Task, snapshot: bytes | None, is_kept: bool) -> Iterator[Event | Ready | Carried | Unusable]:
        """Trains the task, from the snapshot where there is one; with `is_kept` its checkpoint comes before its end."""
        torch.set_num_threads(self._setup.threads)
        # The images lie in memory that all processes of the node share and none may write to, nor does.
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        self._stop.clear()  # before the key is known: from then on a stop is this task's
        self._key = task.key
        yield Ready()
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            mine = replace(task, snapshot=folder / "snapshot", checkpoint=folder / "checkpoint" if is_kept else None)
            if snapshot is not None:
                (folder / "snapshot").write_bytes(snapshot)
            for event in events_of(mine, self._setup, self._material, self._stop.wait):
                if isinstance(event, Kept):
                    yield Carried("snapshot", {"snapshot": (folder / "snapshot").read_bytes()})
                elif isinstance(event, Finished) and (folder / "checkpoint").exists():
                    yield Carried(
                        "checkpoint", {path.name: path.read_bytes() for path in (folder / "checkpoint").iterdir()}
                    )
                yield event

    def stop(self, key: str) -> None:
        """The task ends after its epoch, if it is still the one in training."""
        if key == self._key:
            self._stop.set()
