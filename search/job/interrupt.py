"""Ctrl-C as a request: the first asks the run to put its work back, the second ends the process at once."""

import os
import signal
import threading
from types import FrameType

EXIT_CODE = 130


class InterruptedRunError(Exception):
    """The run was asked to stop and has put its running work back."""


class Interrupt:
    """While entered, SIGINT and SIGTERM set `requested`; a second one exits with 130 on the spot.

    The storage needs no farewell: whatever was running is found and put back by the next run. Only a process's main
    thread hears signals: a run in another thread is never interrupted.

    Args:
        is_guest: The process is not the run's own, as that of a notebook: a second signal raises KeyboardInterrupt.
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
