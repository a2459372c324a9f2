"""Faults that really happen to a storage, and storages that wait without sleeping."""

import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import optuna
import pytest
from optuna.storages import RDBStorage

from search.storage.opening import open_storage
from search.storage.own_trials import OwnTrials
from search.storage.patience import Patience
from search.study.study import Study
from tests.search.tiny import start_command


@dataclass
class Clock:
    """Time that passes only in sleep(); `at_each_sleep` is what happens meanwhile."""

    at_each_sleep: Callable[[int], None] = lambda _: None
    now: float = 0.0
    sleeps: int = 0

    def sleep(self, seconds: float) -> None:
        self.sleeps += 1
        self.now += seconds
        self.at_each_sleep(self.sleeps)

    def time(self) -> float:
        return self.now


@dataclass
class Watched:
    """A study whose storage is asked again without a real pause, and what was announced."""

    study: Study
    storage: OwnTrials
    clock: Clock
    told: list[str] = field(default_factory=list)


def open_watched(
    url: str,
    at_each_sleep: Callable[[int], None] = lambda _: None,
    *,
    name: str = "tiny",
    seconds: float = 60,
    lock_seconds: float = 0,
) -> Watched:
    told: list[str] = []
    clock = Clock(at_each_sleep)
    storage = open_storage(url, create=True, lock_seconds=lock_seconds)
    storage.patience = Patience(seconds, told.append, clock.sleep, clock.time)
    sampler = optuna.samplers.RandomSampler(seed=1)
    study = optuna.create_study(
        study_name=name, storage=storage, direction="maximize", load_if_exists=True, sampler=sampler
    )
    return Watched(Study(study), storage, clock, told)


@contextmanager
def small_disk(folder: Path, *, megabytes: int = 4) -> Iterator[Path]:
    """A file system of its own of that size."""
    folder.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(
            ["umount", "--lazy", str(folder)], check=True
        )  # lazy: a garbage connection may still hold a file


def fill(disk: Path) -> Path:
    """A file that takes all the room that is left on the disk."""
    path = disk / "filling"
    with path.open("wb", buffering=0) as file:
        for size in (1 << 16, 1 << 12, 1):
            with suppress(OSError):
                while file.write(b"x" * size):
                    pass
    return path


def remount(disk: Path, mode: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{mode}", str(disk)], check=True)


class Fault(Protocol):
    """What happens at a call of the database's driver."""

    def let(self, call: Callable[..., Any], *arguments: Any) -> Any:
        """Makes the call, or does not."""


@dataclass
class Faulty:
    """Calls of the database's driver fail: number `n` before or after it took effect, and every one from `gone_from`
    on.
    """

    faults: dict[int, str] = field(default_factory=dict)
    gone_from: float = float("inf")
    calls: int = 0

    def let(self, call: Callable[..., Any], *arguments: Any) -> Any:
        number, self.calls = self.calls, self.calls + 1
        if self.faults.get(number) == "after" and number < self.gone_from:
            call(*arguments)
        if number in self.faults or number >= self.gone_from:
            error = sqlite3.OperationalError("disk I/O error")
            error.sqlite_errorcode = sqlite3.SQLITE_IOERR
            raise error
        return call(*arguments)


@contextmanager
def faulty(storage: RDBStorage, faults: Fault) -> Iterator[None]:
    """The storage meets the faults."""
    dialect: Any = storage.engine.dialect
    execute, commit = dialect.do_execute, dialect.do_commit
    dialect.do_execute = lambda *arguments: faults.let(execute, *arguments)
    dialect.do_commit = lambda *arguments: faults.let(commit, *arguments)
    try:
        yield
    finally:
        del dialect.do_execute, dialect.do_commit


def contents(folder: Path) -> dict[str, bytes | None]:
    """What stands in the folder: files with their bytes, folders with None."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


def start_impatient(cwd: Path, seconds: float, *arguments: str) -> "subprocess.Popen[str]":
    """The real command, under way in that folder, but that it waits for a storage so long instead of for two
    minutes.
    """
    return start_with(cwd, {"search.storage.patience.SECONDS": seconds}, *arguments)


def start_with(cwd: Path, constants: dict[str, float], *arguments: str) -> "subprocess.Popen[str]":
    """The command, under way in that folder with other constants than the modules have."""
    return start_command(cwd, *arguments, constants=constants)
