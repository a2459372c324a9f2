"""A CUDA device that fails: workers train on the CPU, and raise what CUDA would. Light to import, for each worker
imports it again.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

from fmnist.train import Epoch, fit
from search.executors.training import Setup
from search.executors.worker import serve

FAULT = "CUDA error: an illegal memory access was encountered"
ERRORS: dict[str, type[Exception]] = {
    FAULT: torch.AcceleratorError,
    "cuDNN error: CUDNN_STATUS_EXECUTION_FAILED": RuntimeError,
    "CUDA out of memory. Tried to allocate 16.00 TiB.": torch.OutOfMemoryError,
    "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`": RuntimeError,
    "a bug in the middle of a capture": TypeError,
}
BROKEN = 1  # the seed of a training that fails after its second epoch


class Faulty:
    """`fit` on a device that fails so many processes, and each of them for good."""

    def __init__(self, message: str, times: int, folder: Path) -> None:
        self.error, self.times, self.folder, self.is_broken = (
            ERRORS[message](f"{message}\nMore of it."),
            times,
            folder,
            False,
        )

    def __call__(self, *arguments: Any, seed: int, **options: Any) -> Iterator[Epoch]:
        if self.is_broken:
            raise self.error
        for epoch in fit(*arguments, seed=seed, **{**options, "device": torch.device("cpu")}):
            yield epoch
            if seed == BROKEN and epoch.number == 2 and len(list(self.folder.iterdir())) < self.times:
                (self.folder / str(os.getpid())).touch()
                self.is_broken = True
                raise self.error


@contextmanager
def faulty(message: str, times: int, folder: Path) -> Iterator[None]:
    """Within, the CUDA device of this process is its processor, and fails."""
    with (
        patch("search.executors.training.fit", Faulty(message, times, folder)),
        patch("search.executors.training.is_mixed", lambda _: False),
        patch("search.executors.training.free_memory", lambda _: 2**30),
    ):
        yield


def serve_faulty(
    message: str, times: int, folder: Path, pipe: Connection, setup: Setup, environ: dict[str, str]
) -> None:
    """A worker with such a device."""
    with faulty(message, times, folder):
        serve(pipe, setup, environ)
