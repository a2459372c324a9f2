"""One trial. Objective is a plain callable for whoever prefers Optuna's own loop; the search loop shares its report and
its notes.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from optuna import Trial, TrialPruned
from optuna.trial import FrozenTrial, TrialState

from fmnist.config import TrialConfig
from fmnist.data.splits import SearchSplits
from fmnist.knobs import Choice, Knob, Range, Scalar
from fmnist.network import build, describe
from fmnist.predict import latency_ms
from fmnist.refusals import shown
from fmnist.train import DivergedError, fit
from search.errors import SearchError
from search.storage.foreign import CONFIG
from search.study.limits import constrain, constraints_of, over, violations
from search.study.space import Space
from search.study.spec import LimitsSection
from search.study.trials import REFUSED

ENQUEUED = "fixed_params"  # Optuna's attribute of a trial that was enqueued


class UnusableTrialError(SearchError):
    """A trial that another program asked for is not of the study's space."""


@dataclass(frozen=True)
class Objective:
    """Suggests a configuration, trains it, reports each epoch's validation macro F1 and returns the last one.

    `study.optimize(Objective(...), n_trials=20)` works on any Optuna study that maximises.
    Raises: TrialPruned where the study's pruner says so, where the network is over one of the `limits`, where training
    diverges, or where the trial was enqueued with what is not of the space.
    """

    space: Space
    splits: SearchSplits
    device: torch.device
    seed: int = 0
    limits: LimitsSection = field(default_factory=LimitsSection)

    def __call__(self, trial: Trial) -> float:
        """The last epoch's validation macro F1."""
        try:
            config = suggest(trial, self.space)
        except UnusableTrialError as error:
            trial.set_user_attr("reason", str(error))
            raise TrialPruned from error
        seed = note_start(trial, config, self.seed, len(self.splits.train.class_names))
        self._require_within_limits(trial, config)
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

    def _require_within_limits(self, trial: Trial, config: TrialConfig) -> None:
        classes = len(self.splits.train.class_names)
        constraints = constraints_of(self.limits, config, classes)
        if self.limits.max_latency_ms is not None and not violations(constraints, self.limits):
            constraints |= over(latency_ms(build(config, classes), self.device), self.limits)
        constrain(trial, constraints)
        if reason := violations(constraints, self.limits):
            trial.set_user_attr(REFUSED, True)
            trial.set_user_attr("reason", reason)
            raise TrialPruned


def suggest(trial: Trial, space: Space) -> TrialConfig:
    """The configuration of the trial: that which it was enqueued with, or as far as it says nothing, what the sampler
    proposes.

    Raises: UnusableTrialError.
    """
    enqueued = trial.storage.get_trial(trial._trial_id).system_attrs.get(ENQUEUED)
    asked = {} if CONFIG in trial.user_attrs else {**(enqueued or {}), **trial.params}
    if wrong := [reason for name, value in asked.items() if (reason := _why_not(name, value, space))]:
        raise UnusableTrialError("; ".join(wrong))
    try:
        return space.suggest(trial)
    except ValueError as error:
        if not asked and enqueued is None:
            raise
        raise UnusableTrialError(str(error).splitlines()[0]) from error


def _why_not(name: str, value: Any, space: Space) -> str | None:
    if name in space.knobs:
        return (
            None
            if _is_of(value, space.knobs[name])
            else f"{name} must be {_said(space.knobs[name])}, got {shown(value)}"
        )
    if name not in TrialConfig.model_fields:
        return f"there is no knob {shown(name)}"
    pinned: Scalar = space.pinned.get(name, TrialConfig.model_fields[name].default)
    return (
        None if value == pinned else f"{name} must be {shown(pinned)}, to which the study pins it, got {shown(value)}"
    )


def _is_of(value: Any, knob: Knob) -> bool:
    if isinstance(knob, Choice):
        return any(value == option and isinstance(value, bool) == isinstance(option, bool) for option in knob.options)
    if isinstance(value, bool) or not isinstance(value, int | float) or not knob.low <= value <= knob.high:
        return False
    step = knob.step or (1 if isinstance(knob.low, int) else None)
    return step is None or math.isclose((steps := (value - knob.low) / step), round(steps), abs_tol=1e-8)


def _said(knob: Knob) -> str:
    if isinstance(knob, Range):
        return f"from {shown(knob.low)} to {shown(knob.high)}{f' in steps of {shown(knob.step)}' if knob.step else ''}"
    return f"one of {', '.join(shown(option) for option in knob.options)}"


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
    network = describe(config, classes)
    notes = {"parameters": network.parameters, "flops": network.flops, "config": config.model_dump()}
    tried = _seeds_tried(trial.study.get_trials(deepcopy=False), trial.number, notes)
    seed = next(each for each in itertools.count(seed) if each not in tried)
    for key, value in {**notes, "seed": seed}.items():
        trial.set_user_attr(key, value)
    return seed


def _seeds_tried(trials: Sequence[FrozenTrial], number: int, notes: dict[str, Any]) -> set[int]:
    others = (other for other in trials if other.number != number and other.state != TrialState.FAIL)
    # In the order of the notes: of thousands of trials, few have as many FLOPs.
    return {
        other.user_attrs["seed"]
        for other in others
        if all(other.user_attrs.get(key) == note for key, note in notes.items())
    }
