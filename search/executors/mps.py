"""NVIDIA's Multi-Process Service (MPS): kernels of several processes run on a GPU at the same time.

Without MPS the processes take turns. A training of a small network uses a small part of a large GPU, and processes that
take turns cannot use the rest (benchmarks/gpu_steps/workers.py). The service runs as this user; no GPU setting changes.
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
ELSEWHERE = ("/usr/local/nvidia/bin", "/usr/local/cuda/bin", "/usr/bin")  # folders that may be missing from PATH
PIPES, LOGS, CONNECTIONS = "CUDA_MPS_PIPE_DIRECTORY", "CUDA_MPS_LOG_DIRECTORY", "CUDA_DEVICE_MAX_CONNECTIONS"
VISIBLE = "CUDA_VISIBLE_DEVICES"
PATIENCE = 15.0  # seconds to wait for the service to start or end
ANSWER = 5.0  # seconds to wait for the answer of a running service
DEFAULT_PIPE = Path("/tmp/nvidia-mps/control")  # of a service started for all users of the machine
# A process's queues to the GPU. A training uses two streams, and the GPU has too few queues for 16 processes with 32.
QUEUES = "2"
# The shell ends the service and deletes its folder when its input closes, so also when this process is killed.
WATCHED = (
    'if ! "$0" -d >/dev/null; then echo failed; exit; fi; '
    'trap "" PIPE; echo ready; read -r _; echo quit | "$0"; rm -rf -- "$1"'
)


@dataclass(frozen=True)
class Sharing:
    """How processes share the device: the variables their environment needs, and a note for the user, if any."""

    environ: Mapping[str, str] = field(default_factory=dict)
    note: str | None = None
    by_mps: bool = False


def can_share() -> bool:
    """Whether `shared_gpu` finds a service, or the command that starts one."""
    return _control() is not None or _has_place()


@contextmanager
def shared_gpu(device: torch.device, processes: int) -> Iterator[Sharing]:
    """Let `processes` with the yielded environment compute on the device at the same time, if MPS is available."""
    control = _control()
    if not is_cuda(device) or processes == 1:
        yield Sharing()
    elif control is None and _has_place():  # the container's host runs it; without the command it cannot be queried
        yield Sharing({CONNECTIONS: QUEUES}, by_mps=True)
    elif control is None:
        yield Sharing(note=_turns_note(processes, f"{CONTROL} is not installed"))
    elif _is_started(control):  # CUDA finds it without further variables
        yield Sharing({CONNECTIONS: QUEUES}, by_mps=True)
    else:
        with tempfile.TemporaryDirectory(prefix="mps-", ignore_cleanup_errors=True) as folder:
            yield from _served(control, Path(folder), processes)


def _is_started(control: str) -> bool:
    """Whether a service answers where CUDA looks for one: the files there may be left from a service that died."""
    if not _has_place():
        return False
    with subprocess.Popen(
        [control], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as query:
        try:
            query.communicate(b"get_server_list\n", ANSWER)
        except subprocess.TimeoutExpired:
            query.kill()
        return query.wait() == 0


def _has_place() -> bool:
    return PIPES in os.environ or DEFAULT_PIPE.exists()


def _control() -> str | None:
    return shutil.which(CONTROL, path=os.pathsep.join((os.environ.get("PATH", ""), *ELSEWHERE)))


def _served(control: str, folder: Path, processes: int) -> Iterator[Sharing]:
    environ = {PIPES: str(folder / "pipes"), LOGS: str(folder / "logs"), CONNECTIONS: QUEUES}
    for name in ("pipes", "logs"):
        (folder / name).mkdir()
    with subprocess.Popen(
        ["sh", "-c", WATCHED, control, str(folder)],
        # CUDA_VISIBLE_DEVICES selects among the devices of the service. If the service had it too, it would be applied
        # twice.
        env={name: value for name, value in os.environ.items() if name != VISIBLE} | environ,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C must not reach it: workers still train to the end of their epoch
        text=True,
    ) as service:
        is_ready = False
        try:
            if is_ready := _is_ready(service):
                yield Sharing(environ, by_mps=True)
        finally:
            _end(service, folder, PATIENCE if is_ready else 0.0)
    if not is_ready:
        yield Sharing(note=_turns_note(processes, f"{CONTROL} does not start"))


def _is_ready(service: subprocess.Popen[str]) -> bool:
    assert service.stdout is not None
    return bool(wait([service.stdout.fileno()], PATIENCE)) and service.stdout.readline().strip() == "ready"


def _end(service: subprocess.Popen[str], folder: Path, patience: float) -> None:
    """Ask the service to end, and kill its remaining processes after `patience` seconds."""
    assert service.stdin is not None
    service.stdin.close()
    try:
        service.wait(patience)
    except subprocess.TimeoutExpired:
        # The service has left its shell's process group, so find it by its environment. Workers set PIPES after their
        # start, which does not show here.
        for process in psutil.process_iter(["environ"]):
            if (process.info["environ"] or {}).get(PIPES) == str(folder / "pipes"):
                with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                    process.kill()


def _turns_note(processes: int, reason: str) -> str:
    return (
        f"The {processes} workers take turns on the GPU because {reason}. A single worker (--workers 1) may be as fast."
    )
