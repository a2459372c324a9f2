"""Start worker processes by forking a server process that has imported the heavy modules.

The server imports at the same time as the coordinator and shares none of its state, so workers and their replacements
start at once. On a platform without a fork server, each worker imports the modules itself.
"""

import multiprocessing
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.context import ForkServerContext, SpawnContext
from typing import Any

# Third-party modules only: the server imports with its own sys.path, which may hold another copy of this package.
HEAVY = ("torch", "torch.optim.adam", "torch.optim.swa_utils", "numpy", "pydantic", "PIL.Image", "safetensors.torch")

# The server's socket lies in a subfolder of the temporary folder. 103 is the lowest limit on its path (macOS).
LONGEST_SOCKET_PATH = 103
SOCKET_WITHIN = "/pymp-12345678/listener-12345678"

SAFE_PATH = "PYTHONSAFEPATH"
SCRIPT = threading.Lock()  # only one thread at a time may hide the script


def worker_context() -> ForkServerContext | SpawnContext:
    """Return the multiprocessing context that starts workers on this platform."""
    is_short = len(tempfile.gettempdir() + SOCKET_WITHIN) <= LONGEST_SOCKET_PATH
    if "forkserver" not in multiprocessing.get_all_start_methods() or not is_short:
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(HEAVY))
    return context


def warm_up() -> None:
    """Start the server process, if the platform has one. Call this before importing the heavy modules."""
    if isinstance(worker_context(), ForkServerContext):
        from multiprocessing.forkserver import ensure_running

        with on_their_own():
            ensure_running()


@contextmanager
def on_their_own() -> Iterator[None]:
    """Shield the processes started inside from Ctrl-C, even while they import: the coordinator decides when they end.

    They do not run the coordinator's script either, which without an `if __name__` guard would start the search again.
    Nor do they import from the current folder, which may hold a random.py of the user.
    """
    with _without_ctrl_c(), _without_script(), _without_current_folder():
        yield


@contextmanager
def _without_current_folder() -> Iterator[None]:
    # Within SCRIPT, so that one thread at a time changes what afterwards is the program's own again, as a notebook's.
    before = os.environ.get(SAFE_PATH)
    os.environ[SAFE_PATH] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[SAFE_PATH]
        else:
            os.environ[SAFE_PATH] = before


@contextmanager
def _without_ctrl_c() -> Iterator[None]:
    # Only the main thread can set a handler. Elsewhere the mask is set, which a new process inherits from its thread.
    if threading.current_thread() is not threading.main_thread():
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            yield
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        return
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)


@contextmanager
def _without_script() -> Iterator[None]:
    # multiprocessing uses these two to tell a process where the script is. Workers need only this package.
    names: tuple[str, ...] = ("__file__", "__spec__")
    with SCRIPT:
        script = sys.modules["__main__"]
        hidden: dict[str, Any] = {name: script.__dict__.pop(name) for name in names if name in script.__dict__}
        script.__spec__ = None
        try:
            yield
        finally:
            script.__dict__.update(hidden)
