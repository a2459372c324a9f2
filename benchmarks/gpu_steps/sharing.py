"""The combined speed of parallel trainings on one device, in processes or in threads of one process."""

import multiprocessing
import os
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Any

import torch

from fmnist.config import TrialConfig
from fmnist.data.images import SIDE, Images
from fmnist.data.sources import find_source
from fmnist.data.splits import full_split
from fmnist.train import _Run

PATIENCE = 45.0  # seconds for a process to start, to train its first steps or to answer


class Trainer:
    """A training of each configuration, past its first steps."""

    def __init__(self, configs: list[TrialConfig], images: Images, device: torch.device, seed: int) -> None:
        self.device, self.runs = device, [_Run(config, images, seed, device) for config in configs]
        for index in range(len(configs)):
            self.speed(index, 0.0)

    def speed(self, index: int, seconds: float) -> float:
        """Train that configuration for about `seconds`, at least one block, and return its images per second."""
        run = self.runs[index]
        run.model.train()
        images, start = 0, time.perf_counter()
        with run.own_stream():
            while not images or time.perf_counter() - start < seconds:
                rows = torch.randint(len(run.batches.labels), (run.ahead, run.batches.size), device=self.device)
                run.block(rows, SIDE).item()
                images += rows.numel()
        return images / (time.perf_counter() - start)


class Together(ABC):
    """Several trainers that train in parallel."""

    @abstractmethod
    def images_per_second(self, index: int, count: int, seconds: float) -> float:
        """Return the combined speed of the first `count` trainers, each with its training of that configuration."""

    @abstractmethod
    def end(self) -> None:
        """Stop all trainers."""


@dataclass(frozen=True)
class Work:
    """The input of a process."""

    data: str | None
    device: str
    configs: list[dict[str, Any]]
    images: int
    seed: int


class Processes(Together):
    """One process per trainer."""

    def __init__(self, work: Work, most: int, environ: Mapping[str, str]) -> None:
        context = multiprocessing.get_context("spawn")
        self._processes: list[tuple[SpawnProcess, Connection]] = []
        for seed in range(most):
            ours, theirs = context.Pipe()
            process = context.Process(
                target=_serve, args=(theirs, replace(work, seed=seed), dict(environ)), daemon=True
            )
            process.start()
            theirs.close()
            self._processes.append((process, ours))
        try:
            for _, pipe in self._processes:
                _answer(pipe)
        except (TimeoutError, EOFError):
            self.end()
            raise

    def images_per_second(self, index: int, count: int, seconds: float) -> float:
        """See Together."""
        for _, pipe in self._processes[:count]:
            pipe.send((index, seconds))
        return sum(_answer(pipe) for _, pipe in self._processes[:count])

    def end(self) -> None:
        """See Together."""
        for process, pipe in self._processes:
            pipe.close()
            process.kill()
            process.join()


class Threads(Together):
    """One thread per trainer, each with its own stream and graph."""

    def __init__(self, work: Work, most: int) -> None:
        images, device, configs = _inputs(work)
        # Not in parallel, because each sets PyTorch's global seed.
        self._trainers = [Trainer(configs, images, device, seed) for seed in range(most)]

    def images_per_second(self, index: int, count: int, seconds: float) -> float:
        """See Together."""
        speeds = [0.0] * count

        def train(number: int) -> None:
            speeds[number] = self._trainers[number].speed(index, seconds)

        threads = [threading.Thread(target=train, args=(number,)) for number in range(count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return sum(speeds)

    def end(self) -> None:
        """See Together."""
        self._trainers.clear()


def _inputs(work: Work) -> tuple[Images, torch.device, list[TrialConfig]]:
    images = full_split(find_source(work.data, announce=print))
    configs = [TrialConfig(**config) for config in work.configs]
    return images.take(torch.arange(min(work.images, len(images))).numpy()), torch.device(work.device), configs


def _serve(pipe: Connection, work: Work, environ: dict[str, str]) -> None:
    os.environ.update(environ)
    torch.set_num_threads(1)
    images, device, configs = _inputs(work)
    trainer = Trainer(configs, images, device, work.seed)
    pipe.send(0.0)
    while True:
        try:
            index, seconds = pipe.recv()
        except EOFError:
            return
        pipe.send(trainer.speed(index, seconds))


def _answer(pipe: Connection) -> float:
    if not pipe.poll(PATIENCE):
        raise TimeoutError(f"A training process did not answer within {PATIENCE:.0f} s.")
    speed: float = pipe.recv()
    return speed
