"""Handling of Ctrl-C: the first asks the run to put its work back, the second ends the process at once."""

import os
import signal
import threading
from types import FrameType

EXIT_CODE = 130


class InterruptedRunError(Exception):
    """The run was asked to stop and has put its running work back."""


class Interrupt:
    """A context in which SIGINT and SIGTERM set `requested`; a second signal exits with 130 at once.

    Exiting at once is safe: the next run puts running trials back. Only the main thread handles signals, so a run in
    another thread is never interrupted.

    Args:
        is_guest: The process belongs to another program, such as a notebook: a second signal raises KeyboardInterrupt.
    """

    def __init__(self, *, is_guest: bool = False) -> None:
        self.requested = False
        self._is_guest = is_guest

    def __enter__(self) -> "Interrupt":
        is_main = threading.current_thread() is threading.main_thread()
        self._before = {
            number: signal.signal(number, self._handle) for number in (signal.SIGINT, signal.SIGTERM) if is_main
        }
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, _number: int, _frame: FrameType | None) -> None:
        if self.requested and self._is_guest:
            raise KeyboardInterrupt
        if self.requested:
            os._exit(EXIT_CODE)
        self.requested = True
