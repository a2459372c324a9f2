"""NVIDIA's Multi-Process Service: kernels of several processes run on a GPU at the same time. Without it the processes
take turns.

A training of a small network keeps a small part of a large GPU busy, and processes that take turns cannot fill the rest
(benchmarks/gpu_steps/workers.py). No setting of the GPU is changed: the service is one of this user's processes.
Source: "Multi-Process Service", docs.nvidia.com/deploy/mps.
"""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import wait
from pathlib import Path

import psutil
import torch

from fmnist.cuda import is_cuda

CONTROL = "nvidia-cuda-mps-control"
ELSEWHERE = ("/usr/local/nvidia/bin", "/usr/local/cuda/bin", "/usr/bin")  # folders that PATH may lack
PIPES, LOGS, CONNECTIONS = "CUDA_MPS_PIPE_DIRECTORY", "CUDA_MPS_LOG_DIRECTORY", "CUDA_DEVICE_MAX_CONNECTIONS"
VISIBLE = "CUDA_VISIBLE_DEVICES"
PATIENCE = 15.0  # seconds in which the service starts or ends
ANSWER = 5.0  # seconds in which one that runs answers
DEFAULT_PIPE = Path("/tmp/nvidia-mps/control")  # of a service that was started for all users of the machine
# Queues of a process to the GPU. A training uses two streams, and the GPU has too few for 16 processes with 32 each.
QUEUES = "2"
# The service and its folder go when this process does, however that ends and whenever: the shell then reads to the end
# of its input.
WATCHED = (
    'if ! "$0" -d >/dev/null; then echo failed; exit; fi; '
    'trap "" PIPE; echo ready; read -r _; echo quit | "$0"; rm -rf -- "$1"'
)


@dataclass(frozen=True)
class Sharing:
    """How processes share the device: what their environment must have, and what a person should know, if anything."""

    environ: Mapping[str, str] = field(default_factory=dict)
    note: str | None = None
    by_mps: bool = False


def can_share() -> bool:
    """Whether `shared_gpu` finds a service, or the command that starts one."""
    return _control() is not None or _has_place()


@contextmanager
def shared_gpu(device: torch.device, processes: int) -> Iterator[Sharing]:
    """Within, so many processes with the environment that it yields can compute on the device at the same time, where
    that can be had.
    """
    if not is_cuda(device) or processes == 1:
        yield Sharing()
    elif (
        control := _control()
    ) is None and _has_place():  # of the host of this container, which cannot be asked without the command
        yield Sharing({CONNECTIONS: QUEUES}, by_mps=True)
    elif control is None:
        yield Sharing(note=_taking_turns(processes, f"there is no {CONTROL} here"))
    elif _is_started(control):  # and is found without more
        yield Sharing({CONNECTIONS: QUEUES}, by_mps=True)
    else:
        with tempfile.TemporaryDirectory(prefix="mps-", ignore_cleanup_errors=True) as folder:
            yield from _served(control, Path(folder), processes)


def _is_started(control: str) -> bool:
    """Whether a service answers where CUDA looks for one: what is found there may be left over from one that died."""
    if not _has_place():
        return False
    with subprocess.Popen(
        [control], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as asking:
        try:
            asking.communicate(b"get_server_list\n", ANSWER)
        except subprocess.TimeoutExpired:
            asking.kill()
        return asking.wait() == 0


def _has_place() -> bool:
    return PIPES in os.environ or DEFAULT_PIPE.exists()


def _control() -> str | None:
    return shutil.which(CONTROL, path=os.pathsep.join((os.environ.get("PATH", ""), *ELSEWHERE)))


def _served(control: str, folder: Path, processes: int) -> Iterator[Sharing]:
    environ = {PIPES: str(folder / "pipes"), LOGS: str(folder / "logs"), CONNECTIONS: QUEUES}
    for each in ("pipes", "logs"):
        (folder / each).mkdir()
    with subprocess.Popen(
        ["sh", "-c", WATCHED, control, str(folder)],
        # The workers choose among all devices of the service by CUDA_VISIBLE_DEVICES; it would count twice if the
        # service had it too.
        env={name: value for name, value in os.environ.items() if name != VISIBLE} | environ,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C is for the coordinator, whose workers still train to the end of their epoch
        text=True,
    ) as service:
        is_ready = False
        try:
            if is_ready := _is_ready(service):
                yield Sharing(environ, by_mps=True)
        finally:
            _end(service, folder, PATIENCE if is_ready else 0.0)
    if not is_ready:
        yield Sharing(note=_taking_turns(processes, f"{CONTROL} does not start"))


def _is_ready(service: subprocess.Popen[str]) -> bool:
    assert service.stdout is not None
    return bool(wait([service.stdout.fileno()], PATIENCE)) and service.stdout.readline().strip() == "ready"


def _end(service: subprocess.Popen[str], folder: Path, patience: float) -> None:
    """The service was told to end, and what of it still runs after so many seconds is killed."""
    assert service.stdin is not None
    service.stdin.close()
    try:
        service.wait(patience)
    except subprocess.TimeoutExpired:
        # The service leaves its shell's group. Workers are told of the folder after their start, and do not have it
        # here.
        for process in psutil.process_iter(["environ"]):
            if (process.info["environ"] or {}).get(PIPES) == str(folder / "pipes"):
                with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                    process.kill()


def _taking_turns(processes: int, why: str) -> str:
    return (
        f"The {processes} workers take turns on the GPU, for {why}: one worker (--workers 1) may be as fast as all "
        "of them."
    )
