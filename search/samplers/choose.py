"""Optuna's samplers and pruners by the names that a study gives, with the project's settings."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState

from search.samplers.gp import GPSampler
from search.samplers.names import Pruner, Sampler
from search.samplers.tpe import TPESampler

Grid = Mapping[str, Sequence[Any]]

# Per cent of the trials that go on at each epoch. The median's pruner, as hyperband and halving, kills every fifth to
# third of the best trials, whose first epochs tell little (benchmarks/judgement.py).
KEPT = {"percentile": 75.0, "median": 50.0}
REDUCTION = 3  # of the trials at each rung of hyperband and halving, one in so many goes on


def make_sampler(name: Sampler, *, trials: int, seed: int, grid: Callable[[], Grid], order: int) -> BaseSampler:
    """Optuna's sampler of that name, with the project's settings.

    Args:
        trials: Of the whole study; how many of them are random follows from it.
        seed: Of what the sampler draws.
        grid: Knob -> its values, asked for where the sampler is a grid.
        order: Seed of the order of a grid's points, which stays the same when a study is resumed.
    """
    match name:
        case "tpe":
            return TPESampler(seed=seed, n_startup_trials=_startup(trials))
        case "gp":
            return GPSampler(seed=seed, n_startup_trials=_startup(trials))
        case "cmaes":
            return _CmaEsSampler(seed=seed, warn_independent_sampling=False)
        case "random":
            return optuna.samplers.RandomSampler(seed=seed)
        case "grid":
            return _GridSampler(grid(), seed=order)
        case "nsga2":
            return optuna.samplers.NSGAIISampler(seed=seed, population_size=max(8, min(50, trials // 5)))


def _startup(trials: int) -> int:
    """Trials at random before there is a model; Optuna's own default is 10 whatever the budget
    (benchmarks/search_quality.py).
    """
    return max(4, min(10, trials // 20))


def make_pruner(name: Pruner, *, epochs: int) -> BasePruner:
    """Optuna's pruner of that name, with the project's settings; a trial's step is its epoch, counted from 1 to
    `epochs`.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)  # patient and wilcoxon: the study chose them
        return _pruner(name, epochs)


def _pruner(name: Pruner, epochs: int) -> BasePruner:
    match name:
        case "hyperband":
            return optuna.pruners.HyperbandPruner(min_resource=1, max_resource=epochs, reduction_factor=REDUCTION)
        case "halving":
            return optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=REDUCTION)
        case "percentile" | "median":
            return optuna.pruners.PercentilePruner(KEPT[name], n_startup_trials=4)
        case "patient":
            return optuna.pruners.PatientPruner(optuna.pruners.MedianPruner(n_startup_trials=4), patience=1)
        case "wilcoxon":
            return optuna.pruners.WilcoxonPruner()
        case "none":
            return optuna.pruners.NopPruner()


class _GridSampler(optuna.samplers.GridSampler):
    def after_trial(self, *_: object) -> None:
        """Does nothing: the search loop counts the grid, and Study.stop is an error outside Study.optimize."""


class _CmaEsSampler(optuna.samplers.CmaEsSampler):
    def after_trial(
        self, study: optuna.Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:
        """As Optuna's, which warns at each trial with a limit that this sampler does not learn from it; README says so
        once.
        """
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Constraints have been set")
            super().after_trial(study, trial, state, values)
