"""The worker process: it loads the images once, trains one task after another and reports each epoch through its
pipe.
"""

import os
import signal
import threading
from dataclasses import dataclass
from functools import partial
from multiprocessing import parent_process
from multiprocessing.connection import Connection, wait

import torch

from search.executors import Task
from search.executors.training import Setup, Unusable, events_of, load_material


@dataclass(frozen=True)
class Stop:
    """The message that ends the current task after its epoch."""

    key: str


READY = "ready"


def serve(pipe: Connection, setup: Setup, environ: dict[str, str]) -> None:
    """Trains every Task that comes through `pipe`, until it closes or this process is Unusable.

    `environ` is added to the environment before CUDA is used.
    """
    os.environ.update(environ)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole process group; the coordinator decides
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_die_with_parent, daemon=True).start()
    torch.set_num_threads(setup.threads)
    material = load_material(setup)
    pipe.send(READY)
    while True:
        try:
            message = pipe.recv()
        except EOFError:
            return
        if isinstance(message, Task):  # a Stop that comes after its task has ended has nothing left to stop
            for event in events_of(message, setup, material, partial(_stop_came, pipe, message.key)):
                pipe.send(event)
                if isinstance(event, Unusable):
                    os._exit(1)  # at once: a broken CUDA context may hang while it is taken down


def _stop_came(pipe: Connection, key: str, patience: float) -> bool:
    while pipe.poll(patience):
        if pipe.recv() == Stop(key):  # one for a task that is over has nothing left to stop
            return True
    return False


def _die_with_parent() -> None:
    # A coordinator killed with -9 says no goodbye, and an epoch may last minutes.
    parent = parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
