"""Train one task and yield its events, independent of how they reach the coordinator. Never opens the storage."""

import gc
import time
import traceback
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from fmnist.checkpoint import save_checkpoint
from fmnist.config import TrialConfig
from fmnist.cuda import is_cuda, is_fault, release_memory
from fmnist.curve import CurvePoint
from fmnist.data.images import Images
from fmnist.data.sources import Source
from fmnist.data.splits import SearchSplits, full_split, search_splits
from fmnist.device import free_memory
from fmnist.errors import FmnistError
from fmnist.network import build
from fmnist.precision import is_mixed
from fmnist.predict import latency_ms
from fmnist.temperature import scale_scores
from fmnist.train import DivergedError, Epoch, fit
from search.executors import (
    EpochEnd,
    Event,
    Failed,
    FailureKind,
    Finished,
    Measured,
    Message,
    Predicted,
    Resumed,
    SnapshotSaved,
    StopKind,
    Task,
)
from search.executors.capacity import least_memory
from search.executors.snapshots import Snapshots
from search.executors.teachers import load_teachers

# Found in errors of the CPU, Apple's MPS and CUDA's libraries, which have no exception type for this.
OUT_OF_MEMORY = ("can't allocate memory", "out of memory", "CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED")
# The coordinator takes milliseconds to decide on pruning. Without this short wait the decision arrives after the next
# epoch has begun, and a pruned trial costs one epoch more.
PATIENCE = 0.01  # of the epoch's time
Stopped = Callable[[float], StopKind | None]  # seconds that it may wait for a message -> how to stop, if at all


@dataclass(frozen=True)
class Setup:
    """What all workers of a run share."""

    source: Source
    split_seed: int
    device: str
    threads: int
    snapshot_seconds: float = 15.0  # minimum between two snapshots of a training
    mixed: bool | None = None  # whether to multiply in bfloat16; None: each worker decides for its machine


@dataclass(frozen=True)
class Material:
    """The images that a worker trains on, and their description in a checkpoint."""

    splits: SearchSplits
    full: Callable[[], Images]  # train and validation together
    origin: dict[str, Any]


@dataclass(frozen=True)
class Unusable:
    """The last event of a worker whose process cannot train again, for `reason`.

    `failed` is the end of its task; if None, a new process is to retry the task.
    """

    reason: str
    failed: Failed | None


class _TooSlowError(FmnistError):
    """The network takes longer for an image than the task allows."""


def load_material(setup: Setup) -> Material:
    """Load the images of the run's source, split."""
    return Material(
        search_splits(setup.source, seed=setup.split_seed), partial(full_split, setup.source), origin_of(setup.source)
    )


def origin_of(source: Source) -> dict[str, Any]:
    """Return the description of the images for a checkpoint."""
    return {"data": source.name, "pictures": source.preparation.model_dump(mode="json")}


def events_of(task: Task, setup: Setup, material: Material, stopped: Stopped) -> Iterator[Event | Unusable]:
    """Train the task, from its snapshot if there is one, and yield its events; the last event is its end.

    After Unusable this process must end and train no other task. `stopped` is called after each epoch with the seconds
    that it may wait for a message of the coordinator.
    """
    start = time.monotonic()
    end: Finished | Failed | Unusable
    try:
        end = Finished(task.key, (yield from _train(task, setup, material, stopped)))
    except (
        FmnistError,
        RuntimeError,
        ValueError,
        TypeError,
        OSError,
        MemoryError,
        ArithmeticError,
        LookupError,
        AssertionError,
    ) as error:
        end = _failed(error, task, setup, time.monotonic() - start)
    if isinstance(end, Failed):
        gc.collect()  # frees the tensors that the error's traceback held, before the next training
    yield end
    if not isinstance(end, Unusable):
        release_memory(torch.device(setup.device))  # for other workers; the next training has other shapes


def _train(task: Task, setup: Setup, material: Material, stopped: Stopped) -> Generator[Event, None, float]:
    """Train, and return the seconds it took, including earlier tries up to the snapshot."""
    train_images, valid_images = material.splits if task.images == "search" else (material.full(), None)
    device = torch.device(setup.device)
    mixed = is_mixed(device) if setup.mixed is None else setup.mixed
    teachers = load_teachers(task.teachers, train_images.class_names)
    _require_memory(task, train_images, device, mixed, [teacher.config for teacher in teachers])
    if task.max_latency_ms is not None:
        yield from _speed(task, len(train_images.class_names), device, task.max_latency_ms)
    notes: list[str] = []
    seals = [teacher.seal for teacher in teachers]
    snapshots = Snapshots(task, train_images, device, mixed, setup.snapshot_seconds, notes.append, seals)
    after, before = snapshots.load()
    yield from _messages(task, notes)
    if after:
        yield Resumed(task.key, before)
    last: Epoch | None = None
    start = time.monotonic() - ((before[-1].seconds or 0.0) if before else 0.0)
    models = [teacher.model for teacher in teachers]
    training = fit(
        task.config,
        train_images,
        valid_images,
        seed=task.seed,
        device=device,
        after=after,
        mixed=mixed,
        teachers=models,
    )
    for last in training:
        point = _point(last, time.monotonic() - start)
        yield EpochEnd(task.key, point, last.images_per_second)
        stop = stopped(PATIENCE * last.seconds)
        if stop == "end":
            return time.monotonic() - start
        if snapshots.take(last, point, at_once=stop == "pause"):
            yield SnapshotSaved(task.key)
        yield from _messages(task, notes)
        if stop == "pause" and last.number < task.config.epochs:
            return time.monotonic() - start
    if valid_images is not None and last and last.logits is not None:
        yield Predicted(task.key, valid_images.labels, torch.softmax(last.logits, dim=1).numpy())
    if task.checkpoint and last:
        if task.temperature is not None:
            scale_scores(last.model, task.temperature)
        origin = {**material.origin, "seed": task.seed, "images": len(train_images), "epochs": last.number}
        origin["temperature"] = task.temperature
        origin |= {"teachers": seals} if seals else {}
        save_checkpoint(task.checkpoint, last.model, task.config, train_images.class_names, origin=origin)
    return time.monotonic() - start


def _messages(task: Task, notes: list[str]) -> Iterator[Message]:
    while notes:
        yield Message(task.key, notes.pop(0))


def _failed(error: Exception, task: Task, setup: Setup, seconds: float) -> Failed | Unusable:
    kind, reason = _kind_and_reason(error, setup)
    failed = Failed(task.key, kind, reason, seconds)
    # On CUDA other errors may leave the process broken: a fault persists, and an unfinished graph capture leaves
    # PyTorch's random generator in capture mode.
    if not is_cuda(torch.device(setup.device)) or isinstance(error, FmnistError | MemoryError):
        return failed
    return Unusable(reason, None if kind == "error" and is_fault(error) else failed)


def _kind_and_reason(error: Exception, setup: Setup) -> tuple[FailureKind, str]:
    if isinstance(error, DivergedError):
        return "diverged", str(error)
    if isinstance(error, _TooSlowError):
        return "latency", str(error)
    if isinstance(error, FmnistError):  # such as a full disk: retrying would not help
        return "error", str(error)
    if isinstance(error, MemoryError | torch.OutOfMemoryError) or any(sign in str(error) for sign in OUT_OF_MEMORY):
        return "memory", f"out of memory on {setup.device}: {_first_line(error)}"
    if is_fault(error):
        return "error", f"{setup.device} failed: {_first_line(error)}"
    traceback.print_exception(error)  # a bug: the trial fails with its reason
    return "error", f"{type(error).__name__}: {_first_line(error)}"


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or ["no reason given"])[0]


def _require_memory(
    task: Task, images: Images, device: torch.device, mixed: bool, teachers: Sequence[TrialConfig]
) -> None:
    """Raise MemoryError if even the minimum that the training takes exceeds the free memory."""
    least = least_memory(task.config, len(images.class_names), len(images), device, mixed=mixed, teachers=teachers)
    free = free_memory(device)
    if least > free:
        raise MemoryError(f"a step takes at least {least / 2**30:,.1f} GiB, {free / 2**30:,.1f} GiB are free")


def _speed(task: Task, classes: int, device: torch.device, limit: float) -> Iterator[Event]:
    config = task.deployed or task.config
    latency = latency_ms(build(config, classes), config.size, device)
    yield Measured(task.key, latency)
    if latency > limit:
        raise _TooSlowError(f"one image takes {latency:.3g} ms, over {limit:g} ms")


def _point(epoch: Epoch, seconds: float) -> CurvePoint:
    return CurvePoint(epoch.number, epoch.train_loss, epoch.valid_loss, epoch.macro_f1, epoch.accuracy, seconds)
