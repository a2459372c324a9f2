"""The worker process: it loads the images once, trains one task after another and reports each epoch. It never opens the storage."""

import os
import signal
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import parent_process
from multiprocessing.connection import Connection, wait

import torch

from fmnist.checkpoint import save_checkpoint
from fmnist.data.images import Images
from fmnist.data.sources import Source
from fmnist.data.splits import SearchSplits, full_split, search_splits
from fmnist.errors import FmnistError
from fmnist.predict import RESIZED
from fmnist.train import DivergedError, Epoch, fit
from search.executors import EpochEnd, Event, Failed, Finished, Task


@dataclass(frozen=True)
class Setup:
    """What all workers of a run share."""

    source: Source
    split_seed: int
    device: str
    threads: int


@dataclass(frozen=True)
class Stop:
    """The message that ends the current task after its epoch."""

    key: str


READY = "ready"
# A verdict takes the coordinator milliseconds. Without this short wait it comes when the next epoch has begun, and a pruned
# trial costs one epoch more than it should.
PATIENCE = 0.01  # of the epoch's own time


def serve(pipe: Connection, setup: Setup) -> None:
    """Trains every Task that comes through `pipe` until it closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole process group; the coordinator decides
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_die_with_parent, daemon=True).start()
    torch.set_num_threads(setup.threads)
    splits = search_splits(setup.source, seed=setup.split_seed)
    pipe.send(READY)
    while True:
        try:
            message = pipe.recv()
        except EOFError:
            return
        if isinstance(message, Task):  # a Stop that comes after its task has ended has nothing left to stop
            _run(message, setup, splits, pipe)


def train(task: Task, setup: Setup, splits: SearchSplits, send: Callable[[Event], None], stopped: Callable[[float], bool]) -> None:
    """Trains one task, sends its epochs, and saves its checkpoint where it has one.

    After each epoch `stopped` is asked, with the seconds that it may wait for word from the coordinator.
    """
    train_images, valid_images = _images(task, setup, splits)
    device = torch.device(setup.device)
    last: Epoch | None = None
    start = time.monotonic()
    for last in fit(task.config, train_images, valid_images, seed=task.seed, device=device):
        send(_epoch_end(task.key, last, time.monotonic() - start))
        if stopped(PATIENCE * last.seconds):
            return
    if task.checkpoint and last:
        origin = {
            "data": setup.source.name,
            "pictures": RESIZED if setup.source.is_resized else "as Fashion-MNIST's",
            "seed": task.seed,
            "images": len(train_images),
            "epochs": last.number,
        }
        save_checkpoint(task.checkpoint, last.model, task.config, train_images.class_names, origin=origin)


def _run(task: Task, setup: Setup, splits: SearchSplits, pipe: Connection) -> None:
    start = time.monotonic()
    end: Event
    try:
        train(task, setup, splits, pipe.send, lambda patience: _stop_came(pipe, task.key, patience))
    except DivergedError as error:
        end = Failed(task.key, "diverged", str(error), time.monotonic() - start)
    except FmnistError as error:  # such as a disk that is full: trying again would not help
        end = Failed(task.key, "error", str(error), time.monotonic() - start)
    except (RuntimeError, ValueError, TypeError, OSError, MemoryError, ArithmeticError, LookupError, AssertionError) as error:
        traceback.print_exc()  # a bug or the machine's limit: the trial fails with its reason, the worker goes on
        end = Failed(task.key, "error", f"{type(error).__name__}: {error}".splitlines()[0], time.monotonic() - start)
    else:
        end = Finished(task.key, time.monotonic() - start)
    pipe.send(end)


def _images(task: Task, setup: Setup, splits: SearchSplits) -> tuple[Images, Images | None]:
    if task.images == "search":
        return splits.train, splits.valid
    return full_split(setup.source), None


def _stop_came(pipe: Connection, key: str, patience: float) -> bool:
    while pipe.poll(patience):
        if pipe.recv() == Stop(key):  # one for a task that is over has nothing left to stop
            return True
    return False


def _epoch_end(key: str, epoch: Epoch, seconds: float) -> EpochEnd:
    return EpochEnd(
        key=key,
        number=epoch.number,
        train_loss=epoch.train_loss,
        valid_loss=epoch.valid_loss,
        macro_f1=epoch.macro_f1,
        accuracy=epoch.accuracy,
        images_per_second=epoch.images_per_second,
        seconds=seconds,
    )


def _die_with_parent() -> None:
    # A coordinator killed with -9 says no goodbye, and an epoch may last minutes.
    parent = parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
