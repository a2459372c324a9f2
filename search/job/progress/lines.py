"""Progress as lines of text: for logs and pipes."""

import math
from collections.abc import Callable, Mapping

from rich.console import Console
from rich.text import Text

from search.job.progress.base import Progress
from search.job.progress.tally import Best, EndState, Tally, end_line, praise
from search.study.records import StageName
from search.terminal.wording import f1

Clock = Callable[[], float]


class Lines(Progress):
    """One line per epoch and per end, each with the time since the start: for logs and pipes."""

    def __init__(self, console: Console, clock: Clock) -> None:
        self._console = console
        self._clock = clock
        self._opened = clock()
        self._tally: Tally | None = None

    def begin(
        self, stage: StageName, *, total: int, done: int, best: Best | None = None, seconds: float = math.inf
    ) -> None:
        """A line says that the stage begins, and what is done already."""
        self.end()
        self._tally = Tally(stage, total, done, self._clock(), best, seconds)
        self.message(self._tally.outset())

    def started(self, label: str, epochs: int) -> None:
        """Nothing is printed: the first epoch will tell."""
        self._now.started(label, epochs)

    def epoch(self, label: str, number: int, macro_f1: float | None, images_per_second: float) -> None:
        """A line has the figures of the epoch, unless `label` is no longer running."""
        if (running := self._now.running.get(label)) is None:
            return
        self._now.epoch(label, number, macro_f1, images_per_second)
        score = "" if macro_f1 is None else f"F1 {f1(macro_f1)}, "
        self.message(f"{label}, epoch {number}/{running.epochs}: {score}{images_per_second:,.0f} images/s")

    def ended(
        self, label: str, state: EndState, value: float | None, reason: str | None, knobs: Mapping[str, object]
    ) -> None:
        """A line has the end, its reason, and the configuration where it is the best so far."""
        is_best = self._now.ended(label, state, value, knobs)
        self.message(f"{self._now.number()} {end_line(label, state, value, reason)}{praise(is_best, knobs)}")

    def message(self, text: str, *, is_alarm: bool = False) -> None:
        """A line has `text`, behind the time since the start."""
        seconds = int(self._clock() - self._opened)
        stamp = f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}"
        self._console.print(Text(f"{stamp} {text}", "bold red" if is_alarm else ""), soft_wrap=True)

    @property
    def _now(self) -> Tally:
        assert self._tally is not None, "begin() comes first"
        return self._tally

    def elsewhere(self, count: int, best: Best | None) -> None:
        """Nothing is printed: the next line that counts will count them."""
        self._now.ended_elsewhere(count, best)

    def end(self) -> None:
        """A line sums up the stage."""
        if self._tally is not None:
            self.message(self._tally.summary(self._clock()))
            self._tally = None
