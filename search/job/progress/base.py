"""Progress: what a run tells of itself while it is at work. This one shows nothing."""

import math
from collections.abc import Mapping
from types import TracebackType
from typing import Self

from search.job.progress.tally import Best, EndState, Outlook, Step
from search.study.records import StageName


class Progress:
    """A context manager that shows nothing. Trainings are named by a label: "trial 7", "trial 3, seed 1001"."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()

    def expect(self, outlook: Outlook) -> None:
        """This is what the job is expected to take from now on."""

    def step(self, step: Step) -> None:
        """A part of the job without trainings begins."""

    def begin(
        self, stage: StageName, *, total: int, done: int, best: Best | None = None, seconds: float = math.inf
    ) -> None:
        """A stage of at most `total` trainings begins, `done` of which, with `best` among them, ended in earlier runs;
        it ends after `seconds`.
        """

    def started(self, label: str, epochs: int) -> None:
        """A training of `epochs` epochs is under way."""

    def epoch(self, label: str, number: int, macro_f1: float | None, images_per_second: float) -> None:
        """Epoch `number`, the first being 1, is over; `macro_f1` is None without a validation split."""

    def ended(
        self, label: str, state: EndState, value: float | None, reason: str | None, knobs: Mapping[str, object]
    ) -> None:
        """A training is over, with these searched knobs. One that is put back will start again."""

    def elsewhere(self, count: int, best: Best | None) -> None:
        """So many trials of other runs have ended since the stage began, and this is the best of all."""

    def end(self) -> None:
        """The stage is over."""

    def message(self, text: str, *, is_alarm: bool = False) -> None:
        """A sentence for the person who watches."""
