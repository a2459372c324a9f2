"""The configuration of the winner, or of the best trial so far, and where in its ranges each value lies."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial

from fmnist.config import TrialConfig
from fmnist.knobs import Scalar
from search.storage.trial_record import TrialRecord
from search.study.record import Record
from search.study.trials import best_complete
from search.study.winner import BEST_TRIAL, WINNER, Standing


class ChosenKnob(Record):
    """A searched knob: its value, and the range or the options that it was searched in."""

    name: str
    value: Scalar | None
    low: int | float | None = None  # None for options
    high: int | float | None = None
    log: bool = False
    step: int | float | None = None
    options: tuple[Scalar | None, ...] = ()

    @property
    def place(self) -> float | None:
        """Return where the value lies from the low end, 0, to the high end, 1, on the range's own scale."""
        if self.low is None or self.high is None or not isinstance(self.value, int | float):
            return None
        scale = math.log if self.log else float
        low, high = scale(self.low), scale(self.high)
        return (scale(self.value) - low) / (high - low) if high > low else None


class Chosen(Record):
    """The trial whose configuration the report shows."""

    trial: int
    standing: Standing
    searched: tuple[ChosenKnob, ...]
    pinned: dict[str, Scalar | None]  # not searched, and not the default


def read_chosen(trials: Sequence[FrozenTrial], winner: int | None) -> Chosen | None:
    """Return the configuration of the winner, or without one of the best trial; None if there is neither."""
    if winner is not None and winner < len(trials):
        return _chosen(trials[winner], WINNER)
    best = best_complete(trials)
    return None if best is None else _chosen(best, BEST_TRIAL)


def _chosen(trial: FrozenTrial, standing: Standing) -> Chosen:
    searched = [_knob(name, value, trial.distributions[name]) for name, value in trial.params.items()]
    order = {name: place for place, name in enumerate(TrialConfig.model_fields)}
    return Chosen(
        trial=trial.number,
        standing=standing,
        searched=tuple(sorted(searched, key=lambda knob: order.get(knob.name, len(order)))),
        pinned=_pinned(TrialRecord(trial).config or {}, trial.params),
    )


def _knob(name: str, value: Scalar | None, searched: BaseDistribution) -> ChosenKnob:
    match searched:
        case CategoricalDistribution(choices=options):
            return ChosenKnob(name=name, value=value, options=options)
        case IntDistribution() | FloatDistribution():
            ends = {"low": searched.low, "high": searched.high, "log": searched.log, "step": searched.step}
            return ChosenKnob.model_validate({"name": name, "value": value, **ends})
    return ChosenKnob(name=name, value=value)


def _pinned(config: Mapping[str, Any], searched: Mapping[str, object]) -> dict[str, Scalar | None]:
    fields = TrialConfig.model_fields
    return {
        name: value
        for name, value in config.items()
        if name not in searched and (name not in fields or value != fields[name].default)
        if value is None or isinstance(value, bool | int | float | str)
    }
