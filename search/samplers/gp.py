"""Optuna's Gaussian process sampler, extended to learn from trials that were pruned or over a limit."""

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

MODELLED = 200  # maximum number of trials in the model: its time grows with the cube of their number
CONSTRAINT = "constraints:limits"
WITHIN = -1.0  # the constraint of a feasible trial


class GPSampler(optuna.samplers.GPSampler):
    """Equals Optuna's sampler if all trials are complete and have no constraint.

    Optuna's sampler ignores pruned trials: it proposes pruned configurations again and again, and a search may stop
    improving (benchmarks/search_quality.py). Here a pruned trial counts with its estimated final F1, and a trial over a
    limit with its excess.
    """

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Return a point of the space, empty (which means random sampling) before enough trials were trained."""
        modelled = _Modelled(study, search_space, self._n_startup_trials)
        # The trainings occupy the cores: with several threads, which wait for each other, a proposal takes ten times
        # as long.
        with threadpool_limits(1):
            return super().sample_relative(cast("optuna.Study", modelled), trial, search_space)


class _Modelled:
    """A view of a study that maximises, with the trials of the model, all of them complete or running."""

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
        values_by_index = estimated_values(ended)
        if len(values_by_index) < self._startup:
            return running
        if len(ended) > MODELLED:
            best = sorted(values_by_index, key=lambda index: -values_by_index[index])[: MODELLED // 2]
            chosen = sorted({*best, *range(len(ended) - MODELLED // 2, len(ended))})
            values_by_index = {
                new_index: values_by_index[index] for new_index, index in enumerate(chosen) if index in values_by_index
            }
            ended = [ended[index] for index in chosen]
        is_limited = any(trial.constraints for trial in ended)
        values = _filled(values_by_index, _points(ended, self._space))
        return [
            *(_complete(trial, value, is_limited=is_limited) for trial, value in zip(ended, values, strict=True)),
            *running,
        ]


def estimated_values(trials: Sequence[FrozenTrial]) -> dict[int, float]:
    """Return index in `trials` -> the trial's value, estimated if the trial was pruned.

    The estimate is the last reported value plus the median gain of complete trials after that epoch, and at most the
    best complete value. A trial without an epoch has no estimate.
    """
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    best = max((trial.values[0] for trial in complete), default=-math.inf)
    gains: dict[int, float] = {}
    values: dict[int, float] = {}
    for index, trial in enumerate(trials if complete else ()):
        reported = {epoch: value for epoch, value in trial.intermediate_values.items() if math.isfinite(value)}
        if trial.state == TrialState.COMPLETE:
            values[index] = trial.values[0]
        elif reported:
            last = max(reported)
            if last not in gains:
                later = (other.values[0] - other.intermediate_values.get(last, math.nan) for other in complete)
                gains[last] = median([gain for gain in later if math.isfinite(gain)] or [0.0])
            values[index] = min(best, reported[last] + gains[last])
    return values


def _points(trials: Sequence[FrozenTrial], space: Mapping[str, BaseDistribution]) -> NDArray[np.float64]:
    """Return the trials as points in the unit cube. Shape: [trials, knobs]."""
    transform = SearchSpaceTransform(dict(space), transform_0_1=True)
    return np.array([transform.transform({name: trial.params[name] for name in space}) for trial in trials])


def _filled(values: Mapping[int, float], points: NDArray[np.float64]) -> list[float]:
    """Return each point's value, missing ones from the nearest point, so that the model sees no slope at a limit."""
    indices = np.array(sorted(values))

    def nearest(point: NDArray[np.float64]) -> int:
        return int(indices[np.square(points[indices] - point).sum(axis=1).argmin()])

    return [values[index if index in values else nearest(point)] for index, point in enumerate(points)]


def _complete(trial: FrozenTrial, value: float, *, is_limited: bool) -> FrozenTrial:
    # Only the worst constraint: Optuna requires the same number for each trial, and fits a model to each.
    worst = {CONSTRAINT: max(trial.constraints.values(), default=WITHIN)} if is_limited else {}
    return create_trial(params=trial.params, distributions=trial.distributions, value=value, system_attrs=worst)
