"""Create Optuna's samplers and pruners by name, with the project's settings."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState

from search.samplers.names import Pruner, Sampler
from search.samplers.tpe import TPESampler

Grid = Mapping[str, Sequence[Any]]

# Per cent of the trials that continue at each epoch. The median pruner, like hyperband and halving, prunes every fifth
# to third of the best trials, whose first epochs say little (benchmarks/judgement.py).
KEPT = {"percentile": 75.0, "median": 50.0}
REDUCTION = 3  # at each rung of hyperband and halving, one in so many trials is promoted


def make_sampler(name: Sampler, *, trials: int, seed: int, grid: Callable[[], Grid], order: int) -> BaseSampler:
    """Return Optuna's sampler of that name, with the project's settings.

    Args:
        trials: The trials of the whole study, which determine the number of random ones.
        seed: The seed of the sampler.
        grid: Returns knob -> its values; called for a grid only.
        order: The seed of the order of a grid's points, which must not change when a study is resumed.
    """
    match name:
        case "tpe":
            return TPESampler(seed=seed, n_startup_trials=_startup(trials))
        case "gp":
            from search.samplers.gp import GPSampler  # imports torch, which reports do without

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
    """Return the number of random trials before the model; Optuna's default is 10 (benchmarks/search_quality.py)."""
    return max(4, min(10, trials // 20))


def make_pruner(name: Pruner, *, epochs: int) -> BasePruner:
    """Return Optuna's pruner of that name, with the project's settings; a trial's steps are its epochs from 1 on."""
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
        case "freeze-thaw" | "none":  # the search loop decides when a trial pauses
            return optuna.pruners.NopPruner()


class _GridSampler(optuna.samplers.GridSampler):
    def after_trial(self, *_: object) -> None:
        """Do nothing: the search loop counts the grid, and Study.stop is an error outside Study.optimize."""


class _CmaEsSampler(optuna.samplers.CmaEsSampler):
    def after_trial(
        self, study: optuna.Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:
        """Suppress Optuna's warning at each trial that CMA-ES ignores constraints; docs/reliability.md mentions it."""
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Constraints have been set")
            super().after_trial(study, trial, state, values)
