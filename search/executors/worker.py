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
from fmnist.data.pictures import PREPARED, RESIZED
from fmnist.data.sources import Source
from fmnist.data.splits import SearchSplits, full_split, search_splits
from fmnist.device import free_memory
from fmnist.errors import FmnistError
from fmnist.model import ConvNet, memory_floor
from fmnist.predict import latency_ms
from fmnist.train import DivergedError, Epoch, fit, is_mixed
from search.executors import EpochEnd, Event, Failed, FailureKind, Finished, Measured, Noted, Predicted, Resumed, Task
from search.executors.snapshots import Snapshots


@dataclass(frozen=True)
class Setup:
    """What all workers of a run share."""

    source: Source
    split_seed: int
    device: str
    threads: int
    snapshot_seconds: float = 15.0  # that a training goes on, at least, between two snapshots


@dataclass(frozen=True)
class Stop:
    """The message that ends the current task after its epoch."""

    key: str


class _TooSlowError(FmnistError):
    """The network takes longer for an image than the task allows."""


READY = "ready"
OUT_OF_MEMORY = ("can't allocate memory", "out of memory")  # in errors of the CPU and of MPS, which have no kind of their own
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


def train(task: Task, setup: Setup, splits: SearchSplits, send: Callable[[Event], None], stopped: Callable[[float], bool]) -> float:
    """Trains one task, from its snapshot where there is one, sends its epochs, and saves its checkpoint where it has one.

    Returns the seconds that it took, those of earlier tries until the snapshot included.
    After each epoch `stopped` is asked, with the seconds that it may wait for word from the coordinator.
    """
    train_images, valid_images = _images(task, setup, splits)
    device = torch.device(setup.device)
    _require_memory(task, len(train_images.class_names), device)
    _require_speed(task, len(train_images.class_names), device, send)
    snapshots = Snapshots(task, train_images, device, setup.snapshot_seconds, lambda text: send(Noted(task.key, text)))
    after, before = snapshots.found()
    if after:
        send(Resumed(task.key, before))
    last: Epoch | None = None
    start = time.monotonic() - (before[-1].seconds if before else 0)
    for last in fit(task.config, train_images, valid_images, seed=task.seed, device=device, after=after):
        end = _epoch_end(task.key, last, time.monotonic() - start)
        send(end)
        if stopped(PATIENCE * last.seconds):
            return time.monotonic() - start
        snapshots.take(last, end)
    if valid_images is not None and last and last.logits is not None:
        send(Predicted(task.key, valid_images.labels, torch.softmax(last.logits, dim=1).numpy()))
    if task.checkpoint and last:
        origin = {
            "data": setup.source.name,
            "pictures": RESIZED if setup.source.is_resized else PREPARED,
            "seed": task.seed,
            "images": len(train_images),
            "epochs": last.number,
        }
        save_checkpoint(task.checkpoint, last.model, task.config, train_images.class_names, origin=origin)
    return time.monotonic() - start


def _run(task: Task, setup: Setup, splits: SearchSplits, pipe: Connection) -> None:
    start = time.monotonic()
    try:
        seconds = train(task, setup, splits, pipe.send, lambda patience: _stop_came(pipe, task.key, patience))
    except (FmnistError, RuntimeError, ValueError, TypeError, OSError, MemoryError, ArithmeticError, LookupError, AssertionError) as error:
        kind, reason = _told(error, setup)
        pipe.send(Failed(task.key, kind, reason, time.monotonic() - start))
    else:
        pipe.send(Finished(task.key, seconds))
    if setup.device.startswith("cuda"):
        torch.cuda.empty_cache()  # other workers share the device, and the next training has other shapes


def _told(error: Exception, setup: Setup) -> tuple[FailureKind, str]:
    if isinstance(error, DivergedError):
        return "diverged", str(error)
    if isinstance(error, _TooSlowError):
        return "latency", str(error)
    if isinstance(error, FmnistError):  # such as a disk that is full: trying again would not help
        return "error", str(error)
    if isinstance(error, MemoryError | torch.OutOfMemoryError) or any(sign in str(error) for sign in OUT_OF_MEMORY):
        return "memory", f"out of memory on {setup.device}: {_first_line(error)}"
    traceback.print_exception(error)  # a bug: the trial fails with its reason, the worker goes on
    return "error", f"{type(error).__name__}: {_first_line(error)}"


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or ["no reason given"])[0]


def _require_memory(task: Task, classes: int, device: torch.device) -> None:
    """The training is not hopeless.

    Raises: MemoryError where even the least that it takes is more than there is.
    """
    least = memory_floor(task.config, classes, mixed=is_mixed(device))
    free = free_memory(device)
    if least > free:
        raise MemoryError(f"a step takes at least {least / 2**30:,.1f} GiB, {free / 2**30:,.1f} GiB are free")


def _require_speed(task: Task, classes: int, device: torch.device, send: Callable[[Event], None]) -> None:
    if task.max_latency_ms is None:
        return
    found = latency_ms(ConvNet(task.config, classes), device)
    send(Measured(task.key, found))
    if found > task.max_latency_ms:
        raise _TooSlowError(f"one image takes {found:.3g} ms, over {task.max_latency_ms:g} ms")


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
