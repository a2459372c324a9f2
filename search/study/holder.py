"""Which process is at work on a study, told so that another one, or one on another machine, knows whether it still
lives.
"""

import os
import secrets
import socket
from pathlib import Path

from search.study.environment import now
from search.study.records import Holder

COORDINATOR = (
    "coordinator:"  # with an id behind it, the attribute for each run that searches; where the storage is a server's
)
PROC = Path("/proc")
TOKENS: dict[int, str] = {}  # by the number of the process, so that one that is forked draws its own


def mine(*, since: str | None = None, is_over: bool = False) -> Holder:
    """This process as a study remembers it."""
    return Holder(
        host=socket.gethostname(),
        process=os.getpid(),
        since=since or now(),
        seen=now(),
        is_over=is_over,
        token=_token(),
        pid_space=_pid_space(),
    )


def is_mine(holder: Holder) -> bool:
    """Whether it is this process."""
    return holder.token == _token()


def is_numbered_here(holder: Holder) -> bool:
    """Whether the number of its process means here what it means there."""
    here = _pid_space()
    return holder.pid_space == here and (here is not None or holder.host == socket.gethostname())


def _token() -> str:
    return TOKENS.setdefault(os.getpid(), secrets.token_hex(8))


def _pid_space() -> str | None:
    if not (PROC / "self").exists():  # as on macOS, which has no namespaces either
        return None
    try:
        return f"{(PROC / 'sys/kernel/random/boot_id').read_text().strip()} {(PROC / 'self/ns/pid').readlink()}"
    except OSError:  # hidden in a sandbox: equal to no other's
        return f"unknown to {_token()}"
