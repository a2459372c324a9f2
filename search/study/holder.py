"""The process that works on a study, recorded so that other processes and machines can tell whether it is alive."""

import os
import secrets
import socket
from pathlib import Path

from search.study.environment import now
from search.study.record import Record

COORDINATOR = "coordinator:"  # followed by an id: the attribute of each run that searches, on a database server
PROC = Path("/proc")
TOKENS: dict[int, str] = {}  # process id -> token, so that a forked process draws a new one


class Holder(Record):
    """The run that works on a study, or the last one that did."""

    KEY = "holder"
    host: str
    process: int
    since: str
    seen: str  # when it last refreshed this record
    is_over: bool = False
    # Runs of earlier versions lack the following fields.
    # Drawn once per process: hosts and process ids repeat in containers and cloned machines.
    token: str | None = None
    # The boot and namespace in which the process id is unique; None on a system without /proc.
    pid_space: str | None = None


def this_process(*, since: str | None = None, is_over: bool = False) -> Holder:
    """Return the record of this process."""
    return Holder(
        host=socket.gethostname(),
        process=os.getpid(),
        since=since or now(),
        seen=now(),
        is_over=is_over,
        token=_token(),
        pid_space=_pid_space(),
    )


def is_this_process(holder: Holder) -> bool:
    """Whether the holder is this process."""
    return holder.token == _token()


def is_numbered_here(holder: Holder) -> bool:
    """Whether the holder's process id is valid in this process's namespace."""
    pid_space = _pid_space()
    return holder.pid_space == pid_space and (pid_space is not None or holder.host == socket.gethostname())


def _token() -> str:
    return TOKENS.setdefault(os.getpid(), secrets.token_hex(8))


def _pid_space() -> str | None:
    if not (PROC / "self").exists():  # as on macOS, which has no namespaces either
        return None
    try:
        return f"{(PROC / 'sys/kernel/random/boot_id').read_text().strip()} {(PROC / 'self/ns/pid').readlink()}"
    except OSError:  # hidden in a sandbox: must not equal that of any other process
        return f"unknown to {_token()}"
