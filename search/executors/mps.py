"""NVIDIA's Multi-Process Service: kernels of several processes run on a GPU at the same time. Without it the processes take turns.

A training of a small network keeps a small part of a large GPU busy, and processes that take turns cannot fill the rest
(benchmarks/gpu_steps/workers.py). No setting of the GPU is changed: the service is one of this user's processes.
Source: "Multi-Process Service", docs.nvidia.com/deploy/mps.
"""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch

from fmnist.cuda import is_cuda

CONTROL = "nvidia-cuda-mps-control"
ELSEWHERE = ("/usr/local/nvidia/bin", "/usr/local/cuda/bin", "/usr/bin")  # folders that PATH may lack
PIPES, LOGS, CONNECTIONS = "CUDA_MPS_PIPE_DIRECTORY", "CUDA_MPS_LOG_DIRECTORY", "CUDA_DEVICE_MAX_CONNECTIONS"
VISIBLE = "CUDA_VISIBLE_DEVICES"
PATIENCE = 15.0  # seconds in which the service starts or ends
DEFAULT_PIPE = Path("/tmp/nvidia-mps/control")  # of a service that was started for all users of the machine
# Queues of a process to the GPU. A training uses two streams, and the GPU has too few for 16 processes with 32 each.
QUEUES = "2"
# The service ends when this process does, however that ends: the shell then reads to the end of its input.
WATCHED = 'if ! "$0" -d >/dev/null; then echo failed; exit; fi; echo ready; read -r _; echo quit | "$0"'


@dataclass(frozen=True)
class Sharing:
    """How processes share the device: what their environment must have, and what a person should know, if anything."""

    environ: Mapping[str, str] = field(default_factory=dict)
    note: str | None = None
    by_mps: bool = False


def can_share() -> bool:
    """Whether `shared_gpu` finds the service: started by somebody, or here to be started."""
    return _is_started() or _control() is not None


@contextmanager
def shared_gpu(device: torch.device, processes: int) -> Iterator[Sharing]:
    """Within, so many processes with the environment that it yields can compute on the device at the same time, where that can be had."""
    if not is_cuda(device) or processes == 1:
        yield Sharing()
    elif _is_started():  # and is found without more
        yield Sharing({CONNECTIONS: QUEUES}, by_mps=True)
    elif (control := _control()) is None:
        yield Sharing(note=_taking_turns(processes, f"there is no {CONTROL} here"))
    else:
        with tempfile.TemporaryDirectory(prefix="mps-", ignore_cleanup_errors=True) as folder:
            yield from _served(control, Path(folder), processes)


def _is_started() -> bool:
    return PIPES in os.environ or DEFAULT_PIPE.exists()


def _control() -> str | None:
    return shutil.which(CONTROL, path=os.pathsep.join((os.environ.get("PATH", ""), *ELSEWHERE)))


def _served(control: str, folder: Path, processes: int) -> Iterator[Sharing]:
    environ = {PIPES: str(folder / "pipes"), LOGS: str(folder / "logs"), CONNECTIONS: QUEUES}
    for each in ("pipes", "logs"):
        (folder / each).mkdir()
    with subprocess.Popen(
        ["sh", "-c", WATCHED, control],
        # The workers choose among all devices of the service by CUDA_VISIBLE_DEVICES; it would count twice if the service had it too.
        env={name: value for name, value in os.environ.items() if name != VISIBLE} | environ,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C is for the coordinator, whose workers still train to the end of their epoch
        text=True,
    ) as service:
        assert service.stdin is not None
        assert service.stdout is not None
        is_ready = service.stdout.readline().strip() == "ready"
        try:
            yield Sharing(environ, by_mps=True) if is_ready else Sharing(note=_taking_turns(processes, f"{CONTROL} does not start"))
        finally:
            service.stdin.close()
            try:
                service.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                service.kill()


def _taking_turns(processes: int, why: str) -> str:
    return f"The {processes} workers take turns on the GPU, for {why}: one worker (--workers 1) may be as fast as all of them."
