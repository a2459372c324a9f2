"""Optuna's Gaussian process, which also learns from trials that were pruned, or were over a limit."""

import math
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any, cast

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial
from threadpoolctl import threadpool_limits

from search.storage.optuna_private import SearchSpaceTransform

MODELLED = 200  # trials that the model is made of at most: its time grows with the cube of their number
CONSTRAINT = "constraints:limits"
WITHIN = -1.0  # of a trial that nothing speaks against


class GPSampler(optuna.samplers.GPSampler):
    """Proposes as Optuna's from trials that all came to their end and have no constraint.

    Optuna's sees complete trials alone: under a pruner it proposes again and again what was pruned, and a search may
    find nothing more (benchmarks/search_quality.py). Here a pruned trial counts with the F1 that it would have had, and
    one over a limit with by how much.
    """

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """A point of the space; none, which means a random one, before enough trials were trained."""
        modelled = _Modelled(study, search_space, self._n_startup_trials)
        # The cores are for those who train: with threads that wait for each other beside them a proposal takes ten
        # times as long.
        with threadpool_limits(1):
            return super().sample_relative(cast("optuna.Study", modelled), trial, search_space)


class _Modelled:
    """A study that maximises, with the trials that the model is made of, each of them complete or running."""

    def __init__(self, study: optuna.Study, space: Mapping[str, BaseDistribution], startup: int) -> None:
        self._study, self._space, self._startup = study, space, startup

    def __getattr__(self, name: str) -> Any:
        return getattr(self._study, name)

    def _get_trials(self, *, use_cache: bool, **_: object) -> list[FrozenTrial]:
        trials = self._study._get_trials(deepcopy=False, use_cache=use_cache)
        running = [trial for trial in trials if trial.state == TrialState.RUNNING]
        ended = [
            trial
            for trial in trials
            if trial.state in (TrialState.COMPLETE, TrialState.PRUNED) and self._space.keys() <= trial.params.keys()
        ]
        known = foretold(ended)
        if len(known) < self._startup:
            return running
        if len(ended) > MODELLED:
            best = sorted(known, key=lambda index: -known[index])[: MODELLED // 2]
            chosen = sorted({*best, *range(len(ended) - MODELLED // 2, len(ended))})
            known = {place: known[index] for place, index in enumerate(chosen) if index in known}
            ended = [ended[index] for index in chosen]
        is_limited = any(trial.constraints for trial in ended)
        values = _filled(known, _points(ended, self._space))
        return [
            *(_complete(trial, value, is_limited=is_limited) for trial, value in zip(ended, values, strict=True)),
            *running,
        ]


def foretold(trials: Sequence[FrozenTrial]) -> dict[int, float]:
    """Place of a trial among `trials` -> its value, or of a pruned one its last one and the median of what complete
    trials gained after it.

    It is not above the best of the complete ones, for nothing was seen of it. A trial without an epoch has none.
    """
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    best = max((trial.values[0] for trial in complete), default=-math.inf)
    gains: dict[int, float] = {}
    found: dict[int, float] = {}
    for index, trial in enumerate(trials if complete else ()):
        reported = {epoch: value for epoch, value in trial.intermediate_values.items() if math.isfinite(value)}
        if trial.state == TrialState.COMPLETE:
            found[index] = trial.values[0]
        elif reported:
            last = max(reported)
            if last not in gains:
                later = (other.values[0] - other.intermediate_values.get(last, math.nan) for other in complete)
                gains[last] = median([gain for gain in later if math.isfinite(gain)] or [0.0])
            found[index] = min(best, reported[last] + gains[last])
    return found


def _points(trials: Sequence[FrozenTrial], space: Mapping[str, BaseDistribution]) -> NDArray[np.float64]:
    """In the unit cube. Shape: [trials, sides]."""
    transform = SearchSpaceTransform(dict(space), transform_0_1=True)
    return np.array([transform.transform({name: trial.params[name] for name in space}) for trial in trials])


def _filled(known: Mapping[int, float], points: NDArray[np.float64]) -> list[float]:
    """The value at each point, where it is not known that of the nearest: with any other the model would see a slope at
    the limit.
    """
    places = np.array(sorted(known))
    return [
        known[index] if index in known else known[int(places[np.square(points[places] - point).sum(axis=1).argmin()])]
        for index, point in enumerate(points)
    ]


def _complete(trial: FrozenTrial, value: float, *, is_limited: bool) -> FrozenTrial:
    # One constraint, the worst: Optuna wants as many of each trial, and has a model for each.
    worst = {CONSTRAINT: max(trial.constraints.values(), default=WITHIN)} if is_limited else {}
    return create_trial(params=trial.params, distributions=trial.distributions, value=value, system_attrs=worst)
