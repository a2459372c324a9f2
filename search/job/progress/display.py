"""The progress that suits a console: a live screen in a terminal, lines in a log, or nothing."""

import time

from rich.console import Console

from search.job.progress.base import Progress
from search.job.progress.lines import Clock, Lines
from search.job.progress.screen import Screen


def open_progress(console: Console, *, quiet: bool, clock: Clock = time.monotonic) -> Progress:
    """Return a screen if the console can redraw, else lines; nothing is shown if `quiet`."""
    if quiet:
        return Progress()
    return Screen(console, clock) if console.is_interactive else Lines(console, clock)
