"""When a worker saves a snapshot of its training, and which snapshots it may resume from."""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import cached_property
from typing import Any

import torch

from fmnist.config import completed
from fmnist.curve import CurvePoint
from fmnist.data.images import Images
from fmnist.data.sources import fingerprint
from fmnist.errors import FmnistError
from fmnist.snapshot import Snapshot, load_snapshot, save_snapshot
from fmnist.train import Epoch
from search.executors import Task

SHARE = 0.02  # of a training's time that snapshots after the first may take


class Snapshots:
    """The snapshots of one task, if it names a file for them. Faults are noted, and the training continues without."""

    def __init__(
        self,
        task: Task,
        images: Images,
        device: torch.device,
        mixed: bool,
        seconds: float,
        note: Callable[[str], None],
        teachers: Sequence[str] = (),
    ) -> None:
        """`teachers` are the seals of the task's teachers: a student resumes only under the same ones."""
        self._task, self._images, self._device, self._mixed = task, images, device, mixed
        self._seconds, self._note, self._teachers = seconds, note, list(teachers)
        self._curve: list[CurvePoint] = []
        self._last = time.monotonic()
        self._cost = 0.0  # seconds that the last snapshot took

    def load(self) -> tuple[Snapshot | None, tuple[CurvePoint, ...]]:
        """Return the snapshot that an earlier try of this training left, and its curve until then."""
        path = self._task.snapshot
        if path is None or not path.exists():
            return None, ()
        try:
            snapshot, about = load_snapshot(path)
            training = about["training"] | {"config": completed(about["training"]["config"])}
            if training != self._training:
                if training == self._training | {"mixed": not self._mixed}:
                    self._note(_other_precision(self._mixed))
                return None, ()  # otherwise of an earlier study of the same name
            self._curve = [CurvePoint(**point) for point in about["curve"]]
        except (FmnistError, LookupError, TypeError) as error:
            self._note(f"starts from the beginning, its snapshot cannot be used: {error}")
            return None, ()
        return snapshot, tuple(self._curve)

    def take(self, epoch: Epoch, point: CurvePoint, *, at_once: bool = False) -> bool:
        """Record the epoch and save a snapshot if it is due or to be `at_once`; return whether it did.

        After the last epoch there is nothing to save.
        """
        self._curve.append(point)
        path, now = self._task.snapshot, time.monotonic()
        is_due = at_once or now - self._last >= max(self._seconds, self._cost / SHARE)
        if path is None or epoch.number == self._task.config.epochs or not is_due:
            return False
        try:
            about = {"training": self._training, "curve": [asdict(point) for point in self._curve]}
            save_snapshot(path, epoch.snapshot(), about)
        except FmnistError as error:  # such as a full disk: the training is worth more than its snapshot
            self._note(f"no snapshot: {error}")
            return False
        finally:
            self._last = time.monotonic()
            self._cost = self._last - now
        return True

    @cached_property
    def _training(self) -> dict[str, Any]:
        # Everything that determines the figures: a snapshot of another study with the same values would do as well.
        task = self._task
        return {
            "config": task.config.model_dump(mode="json"),
            "seed": task.seed,
            "images": fingerprint(self._images),
            "device": self._device.type,
            "mixed": self._mixed,
            **({"teachers": self._teachers} if self._teachers else {}),
        }


def _other_precision(mixed: bool) -> str:
    before, now = ("float32", "bfloat16") if mixed else ("bfloat16", "float32")
    return f"starts from the beginning: its snapshot was trained in {before}, and this run trains in {now}"
