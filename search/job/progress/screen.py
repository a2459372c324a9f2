"""The live screen: a stage of a run in one panel, in a terminal that can redraw."""

import math
import threading
from collections.abc import Callable, Mapping
from functools import partial
from types import TracebackType
from typing import Self

from rich import box
from rich.console import Console, Group, RenderableType
from rich.constrain import Constrain
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from search.job.progress.base import Progress
from search.job.progress.tally import STEPS, TITLES, Best, EndState, Outlook, Running, Step, Tally, end_line, praise
from search.study.records import StageName
from search.terminal.wording import duration, f1

MOST_SHOWN = 8  # running trainings, so that the panel fits 24 lines; a cluster may run hundreds
WIDEST = 100  # columns; wider, what belongs together is too far apart

Bar = partial(ProgressBar, style="bright_black", complete_style="cyan", finished_style="green")


class Screen(Progress):
    """A panel that redraws four times a second; what is worth keeping scrolls by above it."""

    def __init__(self, console: Console, clock: Callable[[], float]) -> None:
        self._console = console
        self._clock = clock
        self._tally: Tally | None = None
        self._last = ""
        self._outlook: tuple[Outlook, float] | None = None  # and when it was given
        self._step: tuple[Step, float] | None = None  # without trainings, and since when
        self._spinner = Spinner("dots")
        # Live draws in its own thread. Never held while printing, which takes Live's lock.
        self._lock = threading.Lock()
        self._live = Live(console=console, get_renderable=self._draw, refresh_per_second=4, transient=True)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()
        self._live.stop()

    def expect(self, outlook: Outlook) -> None:
        """The stage that is under way, and the next ones, show how much of the job is left."""
        with self._lock:
            self._outlook = outlook, self._clock()
            if self._tally is not None:
                self._tally.outlook, self._tally.expected = self._outlook

    def step(self, step: Step) -> None:
        """A turning sign shows that the run is at work, and at what."""
        self.end()
        with self._lock:
            self._step = step, self._clock()

    def begin(
        self, stage: StageName, *, total: int, done: int, best: Best | None = None, seconds: float = math.inf
    ) -> None:
        """The screen shows a fresh stage; one line above it sums up the stage before."""
        self.end()
        with self._lock:
            self._tally = Tally(stage, total, done, self._clock(), best, seconds)
            if self._outlook is not None:
                self._tally.outlook, self._tally.expected = self._outlook
            self._last, self._step = "", None

    def started(self, label: str, epochs: int) -> None:
        """The training has a line on the screen."""
        with self._lock:
            self._now.started(label, epochs)

    def epoch(self, label: str, number: int, macro_f1: float | None, images_per_second: float) -> None:
        """The training's line has these figures."""
        with self._lock:
            self._now.epoch(label, number, macro_f1, images_per_second)

    def elsewhere(self, count: int, best: Best | None) -> None:
        """They are in the count, and the best is on the screen."""
        with self._lock:
            self._now.ended_elsewhere(count, best)

    def ended(
        self, label: str, state: EndState, value: float | None, reason: str | None, knobs: Mapping[str, object]
    ) -> None:
        """The training's line is gone. A new best, a failure and a training put back each leave a line above the
        screen.
        """
        line = end_line(label, state, value, reason)
        with self._lock:
            is_best = self._now.ended(label, state, value, knobs)
            self._last = line
        if is_best or state in ("failed", "put back"):
            self._print(f"{line}{praise(is_best, knobs)}", "red" if state == "failed" else "")

    def message(self, text: str, *, is_alarm: bool = False) -> None:
        """`text` stands above the screen and stays."""
        self._print(text, "bold red" if is_alarm else "")

    @property
    def _now(self) -> Tally:
        assert self._tally is not None, "begin() comes first"
        return self._tally

    def _print(self, text: str, style: str = "") -> None:
        self._console.print(Text(text, style))

    def end(self) -> None:
        """One line above the screen sums up the stage, and the screen is empty."""
        with self._lock:
            tally, self._tally = self._tally, None
        if tally is not None:
            self._print(tally.summary(self._clock()), "bold")

    def _draw(self) -> RenderableType:
        with self._lock:
            if self._tally is not None:
                return Constrain(panel(self._tally, self._clock(), self._last), WIDEST)
            if self._step is None:
                return Text()
            step, since = self._step
            self._spinner.update(text=Text.assemble(crumb(step), f"  {duration(self._clock() - since)}"))
            return self._spinner


def crumb(current: Step) -> Text:
    """The steps of a job, the current one marked, those behind it pale."""
    place = STEPS.index(current)
    styles = ["dim"] * place + ["bold cyan"] + [""] * (len(STEPS) - place - 1)
    return Text(" > ", "dim").join(Text(step, style) for step, style in zip(STEPS, styles, strict=True))


def panel(tally: Tally, now: float, last: str) -> Panel:
    """A stage of a run; at 80 columns nothing but the sentences is wrapped."""
    parts: list[RenderableType] = [_overall(tally, now), _counts(tally)]
    if tally.running:
        parts += [Text(), _trainings(tally)]
    if tally.best is not None:
        parts += [Text(), Text.assemble(("Best ", "bold green"), str(tally.best))]
    if last:
        parts += [Text(), Text.assemble(("Last ", "dim"), (last, "dim"))]
    left = tally.seconds_left(now)
    rest = "estimating the rest" if left is None else f"about {duration(left)} left"
    if (of_job := tally.job_left(now)) is not None:
        rest += f", of the job {duration(of_job)}"
    title = Text(TITLES[tally.stage], "bold cyan") if tally.stage == "ablate" else crumb(tally.stage)
    times = Text(f"{duration(now - tally.since)} elapsed, {rest}", "cyan")
    return Panel(
        Group(*parts),
        title=title,
        title_align="left",
        subtitle=times,
        subtitle_align="right",
        box=box.ROUNDED,
        border_style="cyan",
        padding=(0, 2),
    )


def _overall(tally: Tally, now: float) -> Table:
    row = Table.grid(padding=(0, 2, 0, 0), expand=True)
    row.add_column(ratio=1)
    row.add_column(justify="right", no_wrap=True)
    row.add_row(Bar(1.0, tally.share(now)), Text(f"{tally.amount()} done", "bold"))
    return row


def _counts(tally: Tally) -> Table:
    row = Table.grid(expand=True)
    row.add_column()
    row.add_column(justify="right", no_wrap=True)
    speed = tally.images_per_second
    row.add_row(Text(tally.counts() or "starting"), Text(f"{speed:,.0f} images/s" if speed else ""))
    return row


def _trainings(tally: Tally) -> Table:
    shown = Table.grid(padding=(0, 2, 0, 0))
    for _ in range(4):
        shown.add_column(no_wrap=True)
    for label, running in list(tally.running.items())[:MOST_SHOWN]:
        shown.add_row(Text(label), *_training(running))
    if len(tally.running) > MOST_SHOWN:
        shown.add_row(Text(f"and {len(tally.running) - MOST_SHOWN} more", "dim"))
    return shown


def _training(running: Running) -> tuple[RenderableType, ...]:
    bar = Bar(running.epochs, running.number, width=16)
    score = "" if running.macro_f1 is None else f"F1 {f1(running.macro_f1)}"
    return (
        bar,
        Text(_epoch(running) if running.number else "first epoch"),
        Text(score, "bold"),
    )


def _epoch(running: Running) -> str:
    return f"epoch {running.number:>{len(str(running.epochs))}}/{running.epochs}"
