"""What a person sees while a study runs: a live screen in a terminal, plain lines in a log, or nothing."""

import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console
from rich.text import Text

from search.job.progress.screen import Screen
from search.job.progress.tally import TITLES, UNITS, Best, EndState, Stage, Tally, end_line, praise
from search.terminal.wording import counted, f1

Clock = Callable[[], float]


class Progress(Protocol):
    """A context manager that is told what happens. Trainings are named by a label: "trial 7", "trial 3, seed 1001"."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def begin(self, stage: Stage, *, total: int, done: int, best: Best | None = None) -> None:
        """A stage of `total` trainings begins, `done` of which, with `best` among them, ended in earlier runs."""

    def started(self, label: str, epochs: int) -> None:
        """A training of `epochs` epochs is under way."""

    def epoch(self, label: str, number: int, macro_f1: float | None, images_per_second: float) -> None:
        """Epoch `number`, the first being 1, is over; `macro_f1` is None where nothing is held out to score on."""

    def ended(
        self, label: str, state: EndState, value: float | None, reason: str | None, knobs: Mapping[str, object]
    ) -> None:
        """A training is over; `knobs` are the searched ones of its configuration. One that is put back will start
        again.
        """

    def elsewhere(self, count: int, best: Best | None) -> None:
        """So many trials of other runs have ended since the stage began, and this is the best of all."""

    def end(self) -> None:
        """The stage is over."""

    def message(self, text: str) -> None:
        """Something that a person should read and that stays."""


def open_progress(console: Console, *, quiet: bool, clock: Clock = time.monotonic) -> Progress:
    """What suits `console`: nothing if `quiet`, a screen in a terminal that can redraw, else lines."""
    if quiet:
        return Silent()
    return Screen(console, clock) if console.is_interactive else Lines(console, clock)


class Silent:
    """Shows nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def begin(self, stage: Stage, *, total: int, done: int, best: Best | None = None) -> None:
        """Nothing is shown."""

    def started(self, label: str, epochs: int) -> None:
        """Nothing is shown."""

    def epoch(self, label: str, number: int, macro_f1: float | None, images_per_second: float) -> None:
        """Nothing is shown."""

    def ended(
        self, label: str, state: EndState, value: float | None, reason: str | None, knobs: Mapping[str, object]
    ) -> None:
        """Nothing is shown."""

    def elsewhere(self, count: int, best: Best | None) -> None:
        """Nothing is shown."""

    def end(self) -> None:
        """Nothing is shown."""

    def message(self, text: str) -> None:
        """Nothing is shown."""


class Lines:
    """One line per epoch and per end, each with the time since the start: for logs and pipes."""

    def __init__(self, console: Console, clock: Clock) -> None:
        self._console = console
        self._clock = clock
        self._opened = clock()
        self._tally: Tally | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()

    def begin(self, stage: Stage, *, total: int, done: int, best: Best | None = None) -> None:
        """A line says that the stage begins, and what is done already."""
        self.end()
        self._tally = Tally(stage, total, done, self._clock(), best)
        earlier = f", {done} of them done before" if done else ""
        self.message(f"{TITLES[stage]}: {counted(total, UNITS[stage])}{earlier}.")

    def started(self, label: str, epochs: int) -> None:
        """Nothing is printed: the first epoch will tell."""
        self._now.started(label, epochs)

    def epoch(self, label: str, number: int, macro_f1: float | None, images_per_second: float) -> None:
        """A line has the figures of the epoch, unless `label` is no longer running."""
        if (one := self._now.running.get(label)) is None:
            return
        self._now.epoch(label, number, macro_f1, images_per_second)
        score = "" if macro_f1 is None else f"F1 {f1(macro_f1)}, "
        self.message(f"{label}, epoch {number}/{one.epochs}: {score}{images_per_second:,.0f} images/s")

    def ended(
        self, label: str, state: EndState, value: float | None, reason: str | None, knobs: Mapping[str, object]
    ) -> None:
        """A line has the end, its reason, and the configuration where it is the best so far."""
        is_best = self._now.ended(label, state, value, knobs)
        self.message(
            f"{self._now.done}/{self._now.total} {end_line(label, state, value, reason)}{praise(is_best, knobs)}"
        )

    def message(self, text: str) -> None:
        """A line has `text`, behind the time since the start."""
        seconds = int(self._clock() - self._opened)
        stamp = f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}"
        self._console.print(Text(f"{stamp} {text}"), soft_wrap=True)

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
