"""One trial. Objective is a plain callable for whoever prefers Optuna's own loop; the search loop shares its report and its notes."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from optuna import Trial, TrialPruned
from optuna.trial import FrozenTrial, TrialState

from fmnist.config import TrialConfig
from fmnist.data.splits import SearchSplits
from fmnist.model import flop_count, parameter_count
from fmnist.train import DivergedError, fit
from search.space import Space


@dataclass(frozen=True)
class Objective:
    """Suggests a configuration, trains it, reports each epoch's validation macro F1 and returns the last one.

    `study.optimize(Objective(...), n_trials=20)` works on any Optuna study that maximises.
    Raises: TrialPruned where the study's pruner says so, or where training diverges.
    """

    space: Space
    splits: SearchSplits
    device: torch.device
    seed: int = 0

    def __call__(self, trial: Trial) -> float:
        """The last epoch's validation macro F1."""
        config = self.space.suggest(trial)
        seed = note_start(trial, config, self.seed, len(self.splits.train.class_names))
        value = float("nan")
        try:
            for epoch in fit(config, self.splits.train, self.splits.valid, seed=seed, device=self.device):
                assert epoch.macro_f1 is not None
                value = epoch.macro_f1
                if report(trial, config, epoch.number, value):
                    raise TrialPruned
        except DivergedError as error:
            trial.set_user_attr("reason", str(error))
            raise TrialPruned from error
        return value


def report(trial: Trial, config: TrialConfig, epoch: int, macro_f1: float) -> bool:
    """The epoch's value stands in the storage; true where the pruner wants the trial to end.

    The last epoch is never pruned: it is paid for.
    """
    if epoch in trial.storage.get_trial(trial._trial_id).intermediate_values:
        return False  # a trial that was put back trains its first epochs again; their verdicts are known
    trial.report(macro_f1, step=epoch)
    return epoch < config.epochs and trial.should_prune()


def note_start(trial: Trial, config: TrialConfig, seed: int, classes: int) -> int:
    """The trial's configuration, seed and size stand in the storage. Returns the seed.

    A configuration that was tried before gets another seed each time, so that no training is done twice.
    """
    if "seed" in trial.user_attrs:
        return int(trial.user_attrs["seed"])
    notes = {"parameters": parameter_count(config, classes), "flops": flop_count(config, classes), "config": config.model_dump()}
    tried = _seeds_tried(trial.study.get_trials(deepcopy=False), trial.number, notes)
    seed = next(each for each in itertools.count(seed) if each not in tried)
    for key, value in {**notes, "seed": seed}.items():
        trial.set_user_attr(key, value)
    return seed


def _seeds_tried(trials: Sequence[FrozenTrial], number: int, notes: dict[str, Any]) -> set[int]:
    others = (other for other in trials if other.number != number and other.state != TrialState.FAIL)
    # In the order of the notes: of thousands of trials, few have as many FLOPs.
    return {other.user_attrs["seed"] for other in others if all(other.user_attrs.get(key) == note for key, note in notes.items())}
