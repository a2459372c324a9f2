"""NVIDIA's Multi-Process Service, under which kernels of several processes run at the same time; without it the processes take turns."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

CONTROL = "nvidia-cuda-mps-control"
ELSEWHERE = ("/usr/local/nvidia/bin", "/usr/local/cuda/bin", "/usr/bin", "/usr/lib/nvidia")  # folders that PATH may lack
PATIENCE = 15.0  # seconds


class NoMpsError(Exception):
    """The service is not there, or does not start."""


@contextmanager
def mps(folder: Path) -> Iterator[None]:
    """Within, processes that begin to use CUDA do so through a service of their own. No setting of the device is changed.

    Raises: NoMpsError with what is missing.
    """
    control = shutil.which(CONTROL, path=os.pathsep.join((os.environ.get("PATH", ""), *ELSEWHERE)))
    if control is None:
        raise NoMpsError(f"There is no {CONTROL} here.")
    pipes, logs = folder / "pipes", folder / "logs"
    for each in (pipes, logs):
        each.mkdir(parents=True)
    with patch.dict(os.environ, CUDA_MPS_PIPE_DIRECTORY=str(pipes), CUDA_MPS_LOG_DIRECTORY=str(logs)):
        try:
            done = subprocess.run([control, "-d"], capture_output=True, text=True, timeout=PATIENCE, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise NoMpsError(f"{CONTROL} does not start: {error}") from error
        if done.returncode:
            raise NoMpsError(f"{CONTROL} ended with {done.returncode}: {(done.stderr or done.stdout).strip()}")
        try:
            yield
        finally:
            subprocess.run([control], input="quit\n", capture_output=True, text=True, timeout=PATIENCE, check=False)
            for log in logs.iterdir():
                print(f"{log.name}:", log.read_text(encoding="utf-8", errors="replace")[-2000:], flush=True)
