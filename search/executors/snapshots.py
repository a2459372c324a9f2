"""When a worker keeps a snapshot of its training, and what makes one a training's own."""

import sys
import time
from dataclasses import asdict
from typing import Any

import torch

from fmnist.data.images import Images
from fmnist.data.sources import fingerprint
from fmnist.errors import FmnistError
from fmnist.snapshot import Snapshot, load_snapshot, save_snapshot
from fmnist.train import Epoch
from search.executors import EpochEnd, Task

SHARE = 0.02  # of a training's time that its snapshots may take, after the first


class Snapshots:
    """Of one task. Without a file there are none."""

    def __init__(self, task: Task, images: Images, device: torch.device, seconds: float) -> None:
        self._task, self._images, self._device, self._seconds = task, images, device, seconds
        self._epochs: list[EpochEnd] = []
        self._last = time.monotonic()
        self._cost = 0.0  # seconds that the last one took

    def found(self) -> tuple[Snapshot | None, tuple[EpochEnd, ...]]:
        """The snapshot that an earlier try left of this very training, and the epochs until then."""
        path = self._task.snapshot
        if path is None or not path.exists():
            return None, ()
        try:
            snapshot, about = load_snapshot(path)
        except FmnistError as error:
            print(f"{self._task.key} starts anew: {error}", file=sys.stderr)  # noqa: T201
            return None, ()
        if about.get("training") != self._training():
            return None, ()  # of a study that had the same name
        self._epochs = [EpochEnd(**{**epoch, "key": self._task.key}) for epoch in about["epochs"]]
        return snapshot, tuple(self._epochs)

    def take(self, epoch: Epoch, end: EpochEnd) -> None:
        """The epoch is remembered, and a snapshot on the disk if it is time for one; the last epoch leaves nothing to go on with."""
        self._epochs.append(end)
        path, now = self._task.snapshot, time.monotonic()
        if path is None or epoch.number == self._task.config.epochs or now - self._last < max(self._seconds, self._cost / SHARE):
            return
        about = {"training": self._training(), "epochs": [asdict(one) for one in self._epochs]}
        save_snapshot(path, epoch.snapshot(), about)
        self._last = time.monotonic()
        self._cost = self._last - now

    def _training(self) -> dict[str, Any]:
        # All that its figures follow from: the same of another study would be as good.
        task = self._task
        return {
            "config": task.config.model_dump(mode="json"),
            "seed": task.seed,
            "images": fingerprint(self._images),
            "device": self._device.type,
        }
