"""The progress that suits a console: a live screen in a terminal, lines in a log, or nothing."""

import time

from rich.console import Console
from rich.text import Text

from search.job.progress.base import Progress
from search.job.progress.lines import Clock, Lines
from search.job.progress.screen import Screen


class Alarms(Progress):
    """Shows alarms alone, on stderr."""

    def message(self, text: str, *, is_alarm: bool = False) -> None:
        """An alarm is printed."""
        if is_alarm:
            Console(stderr=True).print(Text(text, "bold red"), soft_wrap=True)


def open_progress(console: Console, *, quiet: bool, clock: Clock = time.monotonic) -> Progress:
    """Return a screen if the console can redraw, else lines; only alarms are shown if `quiet`."""
    if quiet:
        return Alarms()
    return Screen(console, clock) if console.is_interactive else Lines(console, clock)
