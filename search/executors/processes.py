"""How worker processes come to be: forked from a server process that has the heavy modules loaded, and none of the
coordinator's state.

The server imports while the coordinator does, and a worker, the first as one that takes a dead one's place, is there at
once. Where the platform has no fork server, each worker imports anew.
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

# Third-party modules only: a server imports with the path it was started with, on which this package may be another
# copy of it.
HEAVY = ("torch", "torch.optim.adam", "torch.optim.swa_utils", "numpy", "pydantic", "PIL.Image", "safetensors.torch")

# A server listens at a socket in a folder of its own within the temporary one; this is the shortest limit of its path
# there is (macOS).
LONGEST_SOCKET_PATH = 103
SOCKET_WITHIN = "/pymp-12345678/listener-12345678"

SCRIPT = threading.Lock()  # of two threads that start processes, one at a time hides the script


def keep_current_folder_off_path() -> None:
    """Python processes that this one starts from now on import nothing from the current folder, where a random.py of
    the user may lie.
    """
    os.environ["PYTHONSAFEPATH"] = "1"


def worker_context() -> ForkServerContext | SpawnContext:
    """What starts worker processes on this platform."""
    keep_current_folder_off_path()
    is_short = len(tempfile.gettempdir() + SOCKET_WITHIN) <= LONGEST_SOCKET_PATH
    if "forkserver" not in multiprocessing.get_all_start_methods() or not is_short:
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(HEAVY))
    return context


def warm_up() -> None:
    """The server process, where there is one, has begun to import. Heavy modules are best imported after this."""
    if isinstance(worker_context(), ForkServerContext):
        from multiprocessing.forkserver import ensure_running

        with on_their_own():
            ensure_running()


@contextmanager
def on_their_own() -> Iterator[None]:
    """Processes started within never get Ctrl-C, not even while they import: the coordinator decides when they end.

    Nor do they run the script that the coordinator runs, which would begin the same search again where it has no `if
    __name__` guard.
    """
    with _without_ctrl_c(), _without_script():
        yield


@contextmanager
def _without_ctrl_c() -> Iterator[None]:
    if (
        threading.current_thread() is not threading.main_thread()
    ):  # where no handler can be set; a process inherits its thread's mask
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            yield
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)


@contextmanager
def _without_script() -> Iterator[None]:
    # multiprocessing tells each process where the script lies, from these two; what workers run is imported from this
    # package.
    names: tuple[str, ...] = ("__file__", "__spec__")
    with SCRIPT:
        script = sys.modules["__main__"]
        kept: dict[str, Any] = {name: script.__dict__.pop(name) for name in names if name in script.__dict__}
        script.__spec__ = None
        try:
            yield
        finally:
            script.__dict__.update(kept)
