"""The Ray actor on a node: it trains one task after another, and yields their events and files."""

import tempfile
import threading
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch

from fmnist.data.images import Images
from fmnist.data.splits import SearchSplits
from fmnist.precision import why_float32
from search.executors import Event, Finished, Message, SnapshotSaved, StopKind, Task
from search.executors.teachers import Files, write_files
from search.executors.training import Material, Setup, Unusable, events_of


@dataclass(frozen=True)
class Ready:
    """The worker has its images, and starts to train."""


@dataclass(frozen=True, eq=False)
class Carried:
    """Files that a task wrote on the worker's node, for the coordinator to store."""

    kind: Literal["snapshot", "checkpoint"]
    files: dict[str, bytes]


class Trainer:
    """A Ray actor; `train` and `stop` run in two of its threads."""

    def __init__(self, setup: Setup, splits: SearchSplits, full: Images, origin: dict[str, Any]) -> None:
        self._setup, self._material = setup, Material(splits, lambda: full, origin)
        self._stop = threading.Event()
        self._stop_kind: StopKind = "end"
        self._key = ""
        self._has_said_precision = False

    def train(
        self, task: Task, snapshot: bytes | None, is_kept: bool, teachers: Sequence[Files]
    ) -> Iterator[Event | Ready | Carried | Unusable]:
        """Train the task, from its snapshot if given; with `is_kept` its checkpoint comes before its last event.

        `teachers` are the files of its teachers' checkpoints.
        """
        torch.set_num_threads(self._setup.threads)
        # The images are in read-only memory that all processes of the node share; a training does not write to them.
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        self._stop.clear()  # before the key is set: from then on a stop concerns this task
        self._key = task.key
        yield Ready()
        if not self._has_said_precision and (note := why_float32(torch.device(self._setup.device))):
            yield Message(task.key, note)
        self._has_said_precision = True
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            local = replace(
                task,
                snapshot=folder / "snapshot",
                checkpoint=folder / "checkpoint" if is_kept else None,
                teachers=write_files(teachers, folder),
            )
            if snapshot is not None:
                (folder / "snapshot").write_bytes(snapshot)
            for event in events_of(local, self._setup, self._material, self._stop_came):
                if isinstance(event, SnapshotSaved):
                    yield Carried("snapshot", {"snapshot": (folder / "snapshot").read_bytes()})
                elif isinstance(event, Finished) and (folder / "checkpoint").exists():
                    yield Carried(
                        "checkpoint", {path.name: path.read_bytes() for path in (folder / "checkpoint").iterdir()}
                    )
                yield event

    def stop(self, key: str, kind: StopKind) -> None:
        """End or pause the task after the current epoch, if it is still training."""
        if key == self._key:
            self._stop_kind = kind
            self._stop.set()

    def _stop_came(self, patience: float) -> StopKind | None:
        return self._stop_kind if self._stop.wait(patience) else None
