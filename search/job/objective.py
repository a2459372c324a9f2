"""One trial. Objective is a plain callable for Optuna's own loop; the search loop shares its functions."""

import itertools
from dataclasses import dataclass, field

import torch
from optuna import Trial, TrialPruned
from optuna.trial import TrialState

from fmnist.config import TrialConfig
from fmnist.data.splits import SearchSplits
from fmnist.network import build, describe
from fmnist.predict import latency_ms
from fmnist.train import DivergedError, fit
from search.errors import SearchError
from search.storage import trial_record
from search.storage.optuna_private import enqueued_values, report_value, stored
from search.storage.trial_record import TrialRecord
from search.study.limits import constrain, constraints_of, over, violations
from search.study.sections import FinalSection, LimitsSection
from search.study.space import Space


class UnusableTrialError(SearchError):
    """A trial that another program enqueued is outside the study's space."""


@dataclass(frozen=True)
class Objective:
    """An objective that suggests and trains a configuration, reports each epoch and returns the last macro F1.

    `study.optimize(Objective(...), n_trials=20)` works with any Optuna study that maximises.

    Raises: TrialPruned if the pruner decides so, the network is over one of the `limits`, training diverges, or the
    trial was enqueued with values outside the space.
    """

    space: Space
    splits: SearchSplits
    device: torch.device
    seed: int = 0
    limits: LimitsSection = field(default_factory=LimitsSection)
    final: FinalSection = field(default_factory=FinalSection)  # with a student, the limits concern it

    def __call__(self, trial: Trial) -> float:
        """Return the last epoch's validation macro F1."""
        try:
            config = suggest(trial, self.space)
        except UnusableTrialError as error:
            trial_record.note_reason(trial, str(error))
            raise TrialPruned from error
        seed = note_start(trial, config, self.seed, len(self.splits.train.class_names))
        self._require_within_limits(trial, self.final.deployed(config))
        value = float("nan")
        try:
            for epoch in fit(config, self.splits.train, self.splits.valid, seed=seed, device=self.device):
                assert epoch.macro_f1 is not None
                value = epoch.macro_f1
                is_new = report(trial, epoch.number, value)
                if is_new and epoch.number < config.epochs and trial.should_prune():
                    raise TrialPruned
        except DivergedError as error:
            trial_record.note_reason(trial, str(error))
            raise TrialPruned from error
        return value

    def _require_within_limits(self, trial: Trial, config: TrialConfig) -> None:
        classes = len(self.splits.train.class_names)
        constraints = constraints_of(self.limits, config, classes)
        if self.limits.max_latency_ms is not None and not violations(constraints, self.limits):
            constraints |= over(latency_ms(build(config, classes), config.size, self.device), self.limits)
        constrain(trial, constraints)
        if reason := violations(constraints, self.limits):
            trial_record.note_refused(trial)
            trial_record.note_reason(trial, reason)
            raise TrialPruned


def suggest(trial: Trial, space: Space) -> TrialConfig:
    """Return the configuration of the trial: its enqueued values, and the sampler's proposals for all other knobs.

    Raises: UnusableTrialError.
    """
    present = stored(trial)
    enqueued = enqueued_values(present)
    fixed = {} if TrialRecord(present).began else {**(enqueued or {}), **trial.params}
    if errors := space.errors(fixed):
        raise UnusableTrialError("; ".join(errors))
    try:
        return space.suggest(trial)
    except ValueError as error:
        if not fixed and enqueued is None:
            raise
        raise UnusableTrialError(str(error).splitlines()[0]) from error


def report(trial: Trial, epoch: int, macro_f1: float) -> bool:
    """Store the epoch's value unless it is stored, and return whether it is new.

    A trial that was put back trains its first epochs again, and was not pruned after them.
    """
    if epoch in stored(trial).intermediate_values:
        return False
    report_value(trial, macro_f1, step=epoch)
    return True


def note_start(trial: Trial, config: TrialConfig, seed: int, classes: int) -> int:
    """Store the trial's configuration, seed and size, and return the seed.

    A configuration that was tried before gets another seed, so that no training is repeated.
    """
    earlier = TrialRecord(stored(trial))
    if earlier.began and earlier.seed is not None:  # a seed alone may come with a trial that a person enqueued
        return earlier.seed
    network, settings = describe(config, classes), config.model_dump()
    used_seeds = {
        record.seed
        for other in trial.study.get_trials(deepcopy=False)
        if other.number != trial.number and other.state != TrialState.FAIL
        if (record := TrialRecord(other)).trains(config=settings, parameters=network.parameters, flops=network.flops)
    }
    seed = next(number for number in itertools.count(seed) if number not in used_seeds)
    trial_record.note_start(trial, config=settings, seed=seed, parameters=network.parameters, flops=network.flops)
    return seed
