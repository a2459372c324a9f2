"""Studies, images and executors small enough to train for real in a test."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import PIPE
from typing import Any

import filelock
import pytest
import torch

from fmnist.checkpoint import save_checkpoint
from fmnist.curve import CurvePoint
from fmnist.data import synthetic
from fmnist.data.sources import Source
from fmnist.data.splits import SearchSplits
from fmnist.train import DivergedError, Epoch, fit
from search.executors import EpochEnd, Event, Executor, Failed, Finished, Task
from search.executors.capacity import turns_of_each
from search.job.interrupt import Interrupt
from search.job.progress.base import Progress
from search.job.stage import Stage
from search.storage.opening import open_storage
from search.study.records import DataRecord
from search.study.spec import StudySpec
from search.study.study import Study, create_study
from tests.fmnist.data.prepared import prepared
from tests.search.forked import Forked

Say = Callable[..., tuple[int, str, str]]  # a command -> exit code, output, errors
CPU = torch.device("cpu")
DEADLINE = 600.0  # seconds that a loaded machine may take for what takes it a few
CLASSES = len(synthetic.CLASS_NAMES)
SPLITS = SearchSplits(synthetic.draw(400, seed=1), synthetic.draw(100, seed=2))
DATA = DataRecord(name="drawn", fingerprint="5e0a", train=400, valid=100, class_names=synthetic.CLASS_NAMES)
PINNED = {
    "depth": 1,
    "filters": 4,
    "batch_size": 128,
    "learning_rate": 0.01,
    "pool": "before",
    "head": "max",
    "batch_norm": True,
}
TOML = """\
description = "small enough for a test"

[search]
trials = 3
sampler = "random"
pruner = "none"

[knobs]
epochs = 2
depth = 1
filters = [4, 8]
batch_norm = true
pool = "before"
batch_size = 256
learning_rate = { low = 0.003, high = 0.01, log = true }

[confirm]
top = 2
seeds = 1

[final]
seeds = 1
epochs = 2
"""
RUN = ("run", "tiny.toml", "--data", "synthetic", "--workers", "1")
NAME = "tiny-synthetic"  # of the study that it makes


def tiny_spec(
    *, trials: int = 3, minutes: float | None = None, sampler: str = "random", pruner: str = "none", **knobs: Any
) -> StudySpec:
    search = {"trials": trials, "sampler": sampler, "pruner": pruner} | ({"minutes": minutes} if minutes else {})
    searched = {"filters": [4, 8], "learning_rate": {"low": 0.003, "high": 0.03, "log": True}}
    values = {"name": "tiny", "search": search, "knobs": PINNED | searched | {"epochs": 2} | knobs}
    return StudySpec.parse(values, context="tiny")


def in_database(folder: Path, spec: StudySpec, data: DataRecord = DATA) -> Study:
    """The study, new or resumed, as a run sees it: each call opens the file anew."""
    return create_study(open_storage(f"sqlite:///{folder}/studies/fmnist.db", create=True), spec, data)


def small_source(folder: Path) -> Source:
    """500 drawn images, kept in `folder`."""
    return prepared(folder, synthetic.draw(500, seed=3))


def made_once(factory: pytest.TempPathFactory, worker_id: str, name: str, make: Callable[[Path], None]) -> Path:
    """A folder that `make` has filled, by whichever of the test processes came first, and no test writes to. Each test
    process has a copy: SQLite adds files beside a database that another process reads, which breaks a copy of it.
    """
    root = factory.getbasetemp()
    shared = (root if worker_id == "master" else root.parent) / "made" / name
    shared.parent.mkdir(exist_ok=True)
    with filelock.FileLock(shared.with_suffix(".lock")):
        if not (shared / ".made").exists():
            shared.mkdir()
            make(shared)
            (shared / ".made").touch()
        return Path(shutil.copytree(shared, root / name))


def stage(
    study: Study, spec: StudySpec, executor: Executor, progress: Progress, interrupt: Interrupt | None = None
) -> Stage:
    return Stage(study, spec, executor, progress, interrupt or Interrupt())


class Inline:
    """An executor in this process: each call of events() trains every running task for one epoch."""

    def __init__(self, places: int = 1) -> None:
        self.places = places
        self.trained: list[Task] = []
        self._running: dict[str, Iterator[Event]] = {}
        self._stopped: set[str] = set()
        self._pausing: set[str] = set()

    def free(self) -> int:
        return self.places - len(self._running)

    def running(self) -> list[str]:
        return list(self._running)

    def threads_of_each(self, count: int) -> list[int | None]:
        return [None] * count

    def turns_of_each(self, count: int) -> list[float]:
        return turns_of_each(count, self.places)

    def submit(self, task: Task) -> None:
        self.trained.append(task)
        self._pausing.discard(task.key)
        self._running[task.key] = self._train(task)

    def stop(self, key: str, *, pause: bool = False) -> None:
        (self._pausing if pause else self._stopped).add(key)

    def events(self, timeout: float) -> list[Event]:  # noqa: ARG002
        found = [next(events) for events in self._running.values()]
        for event in found:
            if isinstance(event, Finished | Failed):
                del self._running[event.key]
        return found

    def _train(self, task: Task) -> Iterator[Event]:
        valid = SPLITS.valid if task.images == "search" else None
        last: Epoch | None = None
        try:
            for last in fit(task.config, SPLITS.train, valid, seed=task.seed, device=CPU):
                point = CurvePoint(last.number, last.train_loss, last.valid_loss, last.macro_f1, last.accuracy, 1.0)
                yield EpochEnd(task.key, point, 1.0)
                if task.key in self._stopped or (task.key in self._pausing and last.number < task.config.epochs):
                    break
        except DivergedError as error:
            yield Failed(task.key, "diverged", str(error), 0.1)
            return
        if task.checkpoint and last:
            save_checkpoint(task.checkpoint, last.model, task.config, synthetic.CLASS_NAMES, origin={})
        yield Finished(task.key, 0.1)


class InterruptAfter(Progress):
    """Asks for the end, as Ctrl-C does, once that many epochs were shown."""

    def __init__(self, interrupt: Interrupt, epochs: int) -> None:
        self.interrupt, self.left = interrupt, epochs

    def epoch(self, label: str, number: int, macro_f1: float | None, images_per_second: float) -> None:  # noqa: ARG002
        self.left -= 1
        self.interrupt.requested = self.left <= 0


def command(*arguments: str | Path) -> list[str]:
    return [str(Path(sys.executable).with_name("fmnist-search")), *map(str, arguments)]


def surroundings(**more: str) -> dict[str, str]:
    """Of a command that must not find real images by itself, and that shares the machine."""
    own = ("FMNIST_DATA", "FMNIST_STORAGE", "FMNIST_STUDIES")
    inherited = {key: value for key, value in os.environ.items() if key not in own}
    return inherited | {"OMP_NUM_THREADS": "1", "COLUMNS": "200"} | more


def run_command(cwd: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """The command in a process and a folder of its own, to its end."""
    with Forked([*map(str, arguments)], cwd=cwd, env=surroundings(), stdout=PIPE, stderr=PIPE) as process:
        try:
            output, errors = process.communicate(timeout=DEADLINE)
        finally:
            process.kill()
    return subprocess.CompletedProcess(process.args, process.returncode, output, errors)


def run_installed(cwd: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """The installed command, which imports everything itself, in that folder to its end."""
    return subprocess.run(
        command(*arguments), cwd=cwd, env=surroundings(), capture_output=True, text=True, timeout=DEADLINE, check=False
    )


def start_command(
    cwd: Path, *arguments: str | Path, constants: dict[str, float] | None = None
) -> subprocess.Popen[str]:
    """The command in that folder, under way, in a process group of its own as a terminal would give it.

    `constants` are of its modules, such as {"search.storage.patience.SECONDS": 1.0}.
    """
    options = {"cwd": cwd, "env": surroundings(), "stdout": PIPE, "stderr": PIPE, "start_new_session": True}
    return Forked([*map(str, arguments)], constants=constants, **options)


def wait_for_line(process: subprocess.Popen[str], part: str) -> str:
    """The first line of output that contains `part`."""
    assert process.stdout is not None
    for line in process.stdout:
        if part in line:
            return line
    raise AssertionError(
        f"The command ended with {process.wait()} before {part!r}: {process.stderr.read() if process.stderr else ''}"
    )
