"""The path of a search: each trial with its curve, as plain data. No torch."""

import math
from collections.abc import Sequence

from optuna.trial import FrozenTrial
from pydantic import JsonValue

from search.report.facts import Searched, broken_limits, searched
from search.samplers.choose import REDUCTION
from search.study.records import Record
from search.study.study import Study
from search.study.trials import REFUSED

HALVING = ("hyperband", "halving")


class TrialPath(Record):
    """One trial from its first epoch to its end; its state may be any of Optuna's, in small letters."""

    searched: Searched
    curve: tuple[tuple[int, float], ...]  # epoch, validation macro F1
    reason: str | None  # why it ended early
    over: tuple[str, ...]  # the limits that it breaks
    is_refused: bool  # over a limit that could be told beforehand: it was not trained

    @property
    def number(self) -> int:
        """Of the trial."""
        return self.searched.number

    @property
    def counts(self) -> bool:
        """Whether it may be the best: trained to its end, within every limit."""
        return self.searched.state == "complete" and self.searched.feasible and self.searched.value is not None


class Rung(Record):
    """An epoch at which the pruner compares trials."""

    epoch: int
    pruned: int  # trials that ended there


def read_paths(study: Study) -> tuple[TrialPath, ...]:
    """Every trial of the study, in the order of their numbers."""
    return tuple(_path(trial) for trial in study.trials())


def log_knobs(study: Study) -> frozenset[str]:
    """The knobs whose space is logarithmic."""
    spaces = (trial.distributions for trial in study.trials())
    return frozenset(name for space in spaces for name, one in space.items() if getattr(one, "log", False))


def rungs(paths: Sequence[TrialPath], spec: dict[str, JsonValue]) -> tuple[Rung, ...]:
    """Where trials were pruned, and where the study's pruner would have: the powers of 3 of hyperband and halving."""
    ends = [path.curve[-1][0] for path in paths if path.searched.state == "pruned" and path.curve]
    return tuple(Rung(epoch=epoch, pruned=ends.count(epoch)) for epoch in sorted({*ends, *_planned(spec)}))


def best_so_far(paths: Sequence[TrialPath]) -> list[tuple[int, float]]:
    """(trial, value) of each trial that was the best when it came, by number."""
    found: list[tuple[int, float]] = []
    for path in paths:
        value = path.searched.value
        if path.counts and value is not None and (not found or value > found[-1][1]):
            found.append((path.number, value))
    return found


def _path(trial: FrozenTrial) -> TrialPath:
    reason = trial.user_attrs.get("reason")
    return TrialPath(
        searched=searched(trial),
        curve=tuple(
            (step, value) for step, value in sorted(trial.intermediate_values.items()) if not math.isnan(value)
        ),
        reason=None if reason is None else str(reason),
        over=broken_limits(trial),
        is_refused=bool(trial.user_attrs.get(REFUSED)),
    )


def _planned(spec: dict[str, JsonValue]) -> set[int]:
    match spec:
        case {"search": {"pruner": str(pruner)}, "knobs": {"epochs": int(epochs)}} if pruner in HALVING:
            return {REDUCTION**power for power in range(8) if REDUCTION**power < epochs}
        case _:
            return set()
