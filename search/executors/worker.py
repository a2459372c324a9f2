"""The worker process: it loads the images once, trains one task after another and sends events through its pipe."""

import os
import signal
import threading
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from multiprocessing import parent_process
from multiprocessing.connection import Connection, wait

import torch

from search.executors import StopKind, Task
from search.executors.training import Setup, Unusable, events_of, load_material


@dataclass(frozen=True)
class Stop:
    """The message that ends or pauses a task after the current epoch."""

    key: str
    kind: StopKind


READY = "ready"


def serve(pipe: Connection, setup: Setup, environ: dict[str, str]) -> None:
    """Train every Task received through `pipe`, until it closes or this process is Unusable.

    `environ` is added to the environment before CUDA is initialized.
    """
    os.environ.update(environ)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole process group, but the coordinator decides
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_die_with_parent, daemon=True).start()
    torch.set_num_threads(setup.threads)
    material = load_material(setup)
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):  # the coordinator was killed
        pipe.send(READY)
        while True:
            message = pipe.recv()
            if isinstance(message, Task):  # ignore a Stop that arrives after its task has ended
                torch.set_num_threads(message.threads or setup.threads)
                for event in events_of(message, setup, material, partial(_stop_came, pipe, message.key)):
                    pipe.send(event)
                    if isinstance(event, Unusable):
                        os._exit(1)  # at once: the teardown of a broken CUDA context may hang


def _stop_came(pipe: Connection, key: str, patience: float) -> StopKind | None:
    while pipe.poll(patience):
        message: Stop = pipe.recv()
        if message.key == key:  # ignore a Stop of an earlier task
            return message.kind
    return None


def _die_with_parent() -> None:
    # A coordinator killed with SIGKILL cannot close its workers, and an epoch may last minutes.
    parent = parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
