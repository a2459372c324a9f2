"""Ctrl-C as a request: the first asks the run to put its work back, the second ends the process at once."""

import os
import signal
from types import FrameType

EXIT_CODE = 130


class InterruptedRunError(Exception):
    """The run was asked to stop and has put its running work back."""


class Interrupt:
    """While entered, SIGINT and SIGTERM set `requested`; a second one exits with 130 on the spot.

    The storage needs no farewell: whatever was running is found and put back by the next run.
    """

    def __init__(self) -> None:
        self.requested = False

    def __enter__(self) -> "Interrupt":
        self._before = {number: signal.signal(number, self._handle) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, _number: int, _frame: FrameType | None) -> None:
        if self.requested:
            os._exit(EXIT_CODE)
        self.requested = True
