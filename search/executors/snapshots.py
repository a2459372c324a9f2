"""When a worker keeps a snapshot of its training, and what makes one a training's own."""

import time
from collections.abc import Callable
from dataclasses import asdict
from functools import cached_property
from typing import Any

import torch

from fmnist.curve import CurvePoint
from fmnist.data.images import Images
from fmnist.data.sources import fingerprint
from fmnist.errors import FmnistError
from fmnist.snapshot import Snapshot, load_snapshot, save_snapshot
from fmnist.train import Epoch
from search.executors import Task

SHARE = 0.02  # of a training's time that its snapshots may take, after the first


class Snapshots:
    """Of one task; without a file there are none. What goes wrong with them is noted, and the training goes on
    without.
    """

    def __init__(
        self, task: Task, images: Images, device: torch.device, seconds: float, note: Callable[[str], None]
    ) -> None:
        self._task, self._images, self._device, self._seconds, self._note = task, images, device, seconds, note
        self._curve: list[CurvePoint] = []
        self._last = time.monotonic()
        self._cost = 0.0  # seconds that the last one took

    def found(self) -> tuple[Snapshot | None, tuple[CurvePoint, ...]]:
        """The snapshot that an earlier try left of this very training, and the epochs until then."""
        path = self._task.snapshot
        if path is None or not path.exists():
            return None, ()
        try:
            snapshot, about = load_snapshot(path)
            if about["training"] != self._training:
                return None, ()  # of a study that had the same name
            self._curve = [CurvePoint(**point) for point in about["curve"]]
        except (FmnistError, LookupError, TypeError) as error:
            self._note(f"starts anew, its snapshot is of no use: {error}")
            return None, ()
        return snapshot, tuple(self._curve)

    def take(self, epoch: Epoch, point: CurvePoint) -> bool:
        """The epoch is remembered, and a snapshot on the disk if it is time for one; the last epoch leaves nothing to
        go on with.

        Returns whether there is a new one.
        """
        self._curve.append(point)
        path, now = self._task.snapshot, time.monotonic()
        if (
            path is None
            or epoch.number == self._task.config.epochs
            or now - self._last < max(self._seconds, self._cost / SHARE)
        ):
            return False
        try:
            about = {"training": self._training, "curve": [asdict(point) for point in self._curve]}
            save_snapshot(path, epoch.snapshot(), about)
        except FmnistError as error:  # such as a full disk: what is trained is worth more than that it could go on
            self._note(f"no snapshot: {error}")
            return False
        finally:
            self._last = time.monotonic()
            self._cost = self._last - now
        return True

    @cached_property
    def _training(self) -> dict[str, Any]:
        # All that its figures follow from: the same of another study would be as good.
        task = self._task
        return {
            "config": task.config.model_dump(mode="json"),
            "seed": task.seed,
            "images": fingerprint(self._images),
            "device": self._device.type,
        }
