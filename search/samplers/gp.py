"""Optuna's Gaussian process sampler, extended to learn from trials that were pruned or over a limit."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial
from threadpoolctl import threadpool_limits

from search.samplers.cube import Cube
from search.samplers.inside import inside
from search.samplers.learning_curves import REFIT, CurveModel, Trainings, unwarp, warp

MODELLED = 200  # maximum number of trials in the model: its time grows with the cube of their number
CONSTRAINT = "constraints:limits"
WITHIN = -1.0  # the constraint of a feasible trial


class GPSampler(optuna.samplers.GPSampler):
    """Equals Optuna's sampler on warped values if all trials are complete and have no constraint.

    Optuna's sampler ignores pruned trials: it proposes pruned configurations again and again, and a search may stop
    improving (benchmarks/search_quality.py). Here a pruned trial counts with the final F1 that a model of all learning
    curves predicts, and a trial over a limit with its excess. F1 is warped to -log(1 - F1), in which the differences
    between good trials are not small beside those between bad ones.
    """

    def __init__(self, *, seed: int, n_startup_trials: int) -> None:
        super().__init__(seed=seed, n_startup_trials=n_startup_trials)
        self._curves = Curves(seed)

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Return the knobs of the model: those that all trials in the study's space have."""
        return super().infer_relative_search_space(inside(study), trial)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Return a point of the space, empty (which means random sampling) before enough trials were trained."""
        modelled = _Modelled(inside(study), search_space, self._n_startup_trials, self._curves)
        # The trainings occupy the cores: with several threads, which wait for each other, a proposal takes ten times
        # as long.
        with threadpool_limits(1):
            return super().sample_relative(cast("optuna.Study", modelled), trial, search_space)


class _Modelled:
    """A view of a study that maximises, with the trials of the model, all of them complete or running."""

    def __init__(
        self, study: optuna.Study, space: Mapping[str, BaseDistribution], startup: int, curves: "Curves"
    ) -> None:
        self._study, self._space, self._startup, self._curves = study, space, startup, curves

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
        ended = _best_and_latest(ended)
        values_by_index = self._curves.ends(ended, self._space)
        if len(values_by_index) < self._startup:
            return running
        is_limited = any(trial.constraints for trial in ended)
        values = warp(np.array(_filled(values_by_index, Cube(self._space).points([trial.params for trial in ended]))))
        return [
            *(_complete(trial, float(y), is_limited=is_limited) for trial, y in zip(ended, values, strict=True)),
            *running,
        ]


class Curves:
    """Where trainings would have ended, from a model of the learning curves of all."""

    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng(seed)
        self._model: CurveModel | None = None
        self._space: Mapping[str, BaseDistribution] = {}
        self._fitted_at = 0  # epochs

    def ends(self, trials: Sequence[FrozenTrial], space: Mapping[str, BaseDistribution]) -> dict[int, float]:
        """Return index in `trials` -> the trial's value, predicted if the trial was pruned.

        A prediction is at most the best complete value. A trial without an epoch has none; before a trial is complete
        there are none at all.
        """
        values = {index: trial.values[0] for index, trial in enumerate(trials) if trial.state == TrialState.COMPLETE}
        epochs = max((max(trials[index].intermediate_values, default=0) for index in values), default=0)
        rows = [index for index, trial in enumerate(trials) if _is_curve(trial, epochs)]
        if not values or all(index in values for index in rows):
            return values
        cube = Cube(space)
        f1 = np.full((len(rows), epochs), np.nan)
        for row, index in enumerate(rows):
            for epoch, value in trials[index].intermediate_values.items():
                f1[row, epoch - 1] = value
        trainings = Trainings(cube.points([trials[index].params for index in rows]), f1)
        if self._model is None or self._space != space:
            self._model, self._space, self._fitted_at = CurveModel(cube.knob_of), dict(space), 0
        if (known := int(np.isfinite(f1).sum())) >= self._fitted_at * REFIT:
            self._model.fit(trainings, self._rng)
            self._fitted_at = known
        ends = unwarp(self._model.condition(trainings).of_trainings().mean)
        best = max(values.values())
        return {index: min(best, float(end)) for index, end in zip(rows, ends, strict=True)} | values


def _is_curve(trial: FrozenTrial, epochs: int) -> bool:
    steps = trial.intermediate_values
    return all(1 <= step <= epochs for step in steps) and any(math.isfinite(value) for value in steps.values())


def _best_and_latest(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    if len(trials) <= MODELLED:
        return list(trials)

    def rank(index: int) -> tuple[bool, float]:
        trial = trials[index]
        if trial.state == TrialState.COMPLETE:
            return True, trial.values[0]
        return False, max((value for value in trial.intermediate_values.values() if math.isfinite(value)), default=-1.0)

    best = sorted(range(len(trials)), key=rank)[-MODELLED // 2 :]
    return [trials[index] for index in sorted({*best, *range(len(trials) - MODELLED // 2, len(trials))})]


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
