"""Each trial of a search with its curve, as plain data. No torch."""

import math
from collections.abc import Sequence
from datetime import datetime

from optuna.trial import FrozenTrial
from pydantic import JsonValue

from search.report.facts import Searched, broken_limits, searched
from search.samplers.choose import REDUCTION
from search.storage.trial_record import TrialRecord
from search.study.record import Record
from search.study.study import Study

HALVING = ("hyperband", "halving")


class TrialPath(Record):
    """A trial and its curve; the state may be any of Optuna's, in lower case."""

    searched: Searched
    curve: tuple[tuple[int, float], ...]  # epoch, validation macro F1
    reason: str | None  # why it ended early, or is no candidate
    over: tuple[str, ...]  # the limits that it exceeds
    is_refused: bool  # over a limit before training, so not trained
    ran: tuple[float, float] | None = None  # seconds since the first trial, when it started last and when it ended
    costs: tuple[float, ...] = ()  # of a complete trial of a search against costs

    @property
    def number(self) -> int:
        """Return the number of the trial."""
        return self.searched.number

    @property
    def counts(self) -> bool:
        """Return whether the trial can be the best: complete, within every limit and in the space."""
        return self.searched.state == "complete" and self.searched.feasible and self.searched.value is not None


class Rung(Record):
    """An epoch at which the pruner compares trials."""

    epoch: int
    pruned: int  # trials that ended there


def read_paths(study: Study) -> tuple[TrialPath, ...]:
    """Return every trial of the study, by number."""
    trials = study.trials()
    first = min((trial.datetime_start for trial in trials if trial.datetime_start), default=None)
    return tuple(_path(trial, first) for trial in trials)


def log_knobs(study: Study) -> frozenset[str]:
    """Return the knobs with a logarithmic range in the study's space, which may have been changed."""
    spaces = (trial.distributions for trial in study.trials() if TrialRecord(trial).outside is None)
    return frozenset(
        name for space in spaces for name, distribution in space.items() if getattr(distribution, "log", False)
    )


def rungs(paths: Sequence[TrialPath], spec: dict[str, JsonValue]) -> tuple[Rung, ...]:
    """Return the epochs at which trials were pruned, and the planned rungs of hyperband and halving, powers of 3."""
    ends = [path.curve[-1][0] for path in paths if path.searched.state == "pruned" and path.curve]
    return tuple(Rung(epoch=epoch, pruned=ends.count(epoch)) for epoch in sorted({*ends, *_planned(spec)}))


def best_so_far(paths: Sequence[TrialPath]) -> list[tuple[int, float]]:
    """Return (trial, value) of each trial that was better than all before it, by number."""
    records: list[tuple[int, float]] = []
    for path in paths:
        value = path.searched.value
        if path.counts and value is not None and (not records or value > records[-1][1]):
            records.append((path.number, value))
    return records


def _path(trial: FrozenTrial, first: datetime | None) -> TrialPath:
    record, start, end = TrialRecord(trial), trial.datetime_start, trial.datetime_complete
    ran = None
    if first is not None and start is not None and end is not None and not record.is_refused:
        ran = ((start - first).total_seconds(), (end - first).total_seconds())
    return TrialPath(
        searched=searched(trial),
        curve=tuple((step, value) for step, value in sorted(trial.intermediate_values.items()) if math.isfinite(value)),
        reason=record.reason if record.outside is None else f"outside the study's space: {record.outside}",
        over=broken_limits(trial),
        is_refused=record.is_refused,
        ran=ran,
        costs=tuple((trial.values or [])[1:]),
    )


def _planned(spec: dict[str, JsonValue]) -> set[int]:
    match spec:
        case {"search": {"pruner": str(pruner)}, "knobs": {"epochs": int(epochs)}} if pruner in HALVING:
            return {REDUCTION**power for power in range(8) if REDUCTION**power < epochs}
        case _:
            return set()
