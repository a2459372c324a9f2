"""Where a stage of a run stands: what has ended, what is running, how long the rest may take."""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

from search.study.records import StageName
from search.terminal.wording import counted, duration, f1, settings

EndState = Literal["complete", "pruned", "failed", "refused", "paused", "put back"]
UNITS: dict[StageName, str] = {"search": "trial", "confirm": "training", "final": "training", "ablate": "training"}
TITLES: dict[StageName, str] = {
    "search": "Search",
    "confirm": "Confirm",
    "final": "Final training",
    "ablate": "Ablation",
}

Step = Literal["search", "confirm", "final", "test", "report", "export"]
STEPS: tuple[Step, ...] = get_args(Step)  # of a job, in order


@dataclass(frozen=True)
class Outlook:
    """What a job is expected to take from some moment on."""

    stages: Mapping[StageName, float]  # seconds of each, in order
    rest: float  # seconds of test, report and export
    left: float = math.inf  # seconds until the minutes of the job are used up


@dataclass(slots=True)
class Running:
    """One training under way. `first` is the epoch it began with here: above 1 where it was resumed."""

    epochs: int
    number: int = 0
    first: int = 1
    macro_f1: float | None = None
    images_per_second: float = 0.0

    @property
    def share(self) -> float:
        """How much of it is trained, by whichever run."""
        return min(1.0, self.number / self.epochs)

    @property
    def resumed_share(self) -> float:
        """How much of it an earlier run had trained."""
        return (self.first - 1) / self.epochs


@dataclass(frozen=True, slots=True)
class Best:
    """The highest score of the search so far."""

    label: str
    value: float
    knobs: Mapping[str, object]

    def __str__(self) -> str:
        score = f"{f1(self.value)}, {self.label}"
        return f"{score}: {settings(self.knobs)}" if self.knobs else score


@dataclass(slots=True)
class Tally:
    """One stage, brought up to date by one event after another; what is put back, or refused for a limit, is as if
    never started.
    """

    stage: StageName
    total: int
    done: int  # ended, those of earlier runs included
    since: float  # clock
    best: Best | None = None
    seconds: float = math.inf  # that the stage has; then it ends, and `total` is only the most that it may have
    running: dict[str, Running] = field(default_factory=dict)
    ended_here: Counter[EndState] = field(default_factory=Counter)
    others: int = 0  # ended in other runs since the stage began
    paused: dict[str, float] = field(default_factory=dict)  # training -> the share of it that is trained
    outlook: Outlook | None = None
    expected: float = 0.0  # clock: the moment of the outlook
    _done_before: float = 0.0  # in trainings: of what ended here, the share that an earlier run had trained

    def started(self, label: str, epochs: int) -> None:
        """`label` is running, with no epoch behind it, or goes on after a pause."""
        self.running[label] = Running(epochs)
        self.paused.pop(label, None)

    def epoch(self, label: str, number: int, macro_f1: float | None, images_per_second: float) -> None:
        """The figures of `label` are these; one that is no longer running has yet to see its stop message, and changes
        nothing.
        """
        if (training := self.running.get(label)) is None:
            return
        if training.number == 0:
            training.first = number
        training.number, training.macro_f1, training.images_per_second = number, macro_f1, images_per_second

    def ended(self, label: str, state: EndState, value: float | None, knobs: Mapping[str, object]) -> bool:
        """`label` is no longer running. True where it is the best of the search so far."""
        training = self.running.pop(label, None)
        self.paused.pop(label, None)
        if state == "paused":
            self.paused[label] = training.share if training else 0.0
            return False
        self.ended_here[state] += 1
        if state in ("put back", "refused"):
            return False
        self.done += 1
        self._done_before += training.resumed_share if training else 0.0
        if self.stage != "search" or state != "complete" or value is None or math.isnan(value):
            return False  # the best of a few seeds of one configuration would be luck, and is not shown as a find
        if self.best is not None and value <= self.best.value:
            return False
        self.best = Best(label, value, knobs)
        return True

    def ended_elsewhere(self, count: int, best: Best | None) -> None:
        """Other runs have ended so many of the stage since it began; `best` is that of all runs."""
        self.done += count - self.others
        self.others = count
        if best and (self.best is None or best.value > self.best.value):
            self.best = best

    @property
    def is_timed(self) -> bool:
        """Whether the stage ends with its time."""
        return math.isfinite(self.seconds)

    @property
    def position(self) -> float:
        """How many trainings are behind us, shares of the running and paused ones included."""
        return self.done + sum(training.share for training in self.running.values()) + sum(self.paused.values())

    def share(self, now: float) -> float:
        """How much of the stage is behind us, by its trainings or its time, whichever it nears the end of."""
        by_time = (now - self.since) / self.seconds if self.seconds > 0 else 1.0
        return min(1.0, max(self.position / max(1, self.total), by_time))

    @property
    def images_per_second(self) -> float:
        """The speed of all running trainings together."""
        return sum(training.images_per_second for training in self.running.values())

    def seconds_left(self, now: float) -> float | None:
        """The rest at the pace so far, of all runs together, or of the time that the stage has if that is less.

        None before anything is known.
        """
        left = max(0.0, self.seconds - (now - self.since))
        here = (
            self.done_here
            + self.others
            + sum(training.share - training.resumed_share for training in self.running.values())
            - self._done_before
        )
        if here <= 0 or now <= self.since:
            return left if self.is_timed else None
        return min(left, max(0.0, self.total - self.position) * (now - self.since) / here)

    def job_left(self, now: float) -> float | None:
        """The rest of the whole job: of its minutes, or of this stage, with what is expected of the later ones.

        None before anything is known.
        """
        if self.outlook is None:
            return None
        if math.isfinite(self.outlook.left):
            return max(0.0, self.outlook.left - (now - self.expected))
        of_stage = self.seconds_left(now)
        if of_stage is None:
            return None
        order = list(self.outlook.stages)
        later = order[order.index(self.stage) + 1 :] if self.stage in order else []
        return of_stage + sum(self.outlook.stages[stage] for stage in later) + self.outlook.rest

    @property
    def done_here(self) -> int:
        """How many trainings ended in this run."""
        return self.ended_here.total() - self.ended_here["put back"] - self.ended_here["refused"]

    def counts(self) -> str:
        """ "2 running, 12 complete, 5 pruned", of this run; states that nothing is in are left out."""
        states: tuple[EndState, ...] = ("complete", "pruned", "failed", "refused", "put back")
        under_way = {"running": len(self.running), "paused": len(self.paused)}
        running = [f"{count} {state}" for state, count in under_way.items() if count]
        return ", ".join(running + [f"{self.ended_here[state]} {state}" for state in states if self.ended_here[state]])

    def outset(self) -> str:
        """ "Search: 20 trials, 5 of them done before."."""
        unit = UNITS[self.stage]
        if self.is_timed:
            budget, earlier = duration(max(0.0, self.seconds)), counted(self.done, unit)
        else:
            budget, earlier = counted(self.total, unit), f"{self.done} of them"
        return f"{TITLES[self.stage]}: {budget}{f', {earlier} done before' if self.done else ''}."

    def number(self) -> str:
        """ "7/20"; "7" where the time ends the stage."""
        return str(self.done) if self.is_timed else f"{self.done}/{self.total}"

    def amount(self) -> str:
        """ "7 of 20 trials", or "7 trials" where the time ends the stage."""
        unit = UNITS[self.stage]
        return counted(self.done, unit) if self.is_timed else f"{self.done} of {counted(self.total, unit)}"

    def summary(self, now: float) -> str:
        """The stage in one line, for when it is over or left."""
        counts = f" ({self.counts()})" if self.ended_here else ""
        best = f"; best {self.best.label} with {f1(self.best.value)}" if self.best else ""
        return f"{TITLES[self.stage]}: {self.amount()}{counts} in {duration(now - self.since)}{best}."


def end_line(label: str, state: EndState, value: float | None, reason: str | None) -> str:
    """ "trial 7 pruned at F1 0.8012: below the median"."""
    score = "" if value is None else f" at F1 {f1(value)}"
    return f"{label} {state}{score}{f': {reason}' if reason else ''}"


def praise(is_best: bool, knobs: Mapping[str, object]) -> str:
    """What follows the end line of a training: its searched knobs, if it has any, where it is the best so far."""
    return f", the best so far: {settings(knobs)}" if is_best and knobs else ""
