"""Limits on a network's cost, as constraints that the sampler learns from and optuna-dashboard shows."""

from collections.abc import Mapping

from optuna import Trial

from fmnist.config import TrialConfig
from fmnist.network import describe
from search.storage.optuna_private import set_trial_system_attr
from search.study.sections import LimitsSection
from search.terminal.wording import amount

DASHBOARD_KEY = "constraints"  # read by optuna-dashboard 0.21; Optuna 5 has one key per constraint, and reads both


def constraints_of(limits: LimitsSection, config: TrialConfig, classes: int) -> dict[str, float]:
    """Return limit -> the excess as a fraction of it, for limits that need no built network; up to 0 is within.

    `config` is that of the network that the study is for: of a trial, or of its student.
    """
    constraints = {}
    network = describe(config, classes)
    if limits.max_params is not None:
        constraints["max_params"] = network.parameters / limits.max_params - 1
    if limits.max_size is not None:
        constraints["max_size"] = network.weight_bytes / limits.max_size - 1
    if limits.max_flops is not None:
        constraints["max_flops"] = network.flops / limits.max_flops - 1
    return constraints


def over(latency_ms: float, limits: LimitsSection) -> dict[str, float]:
    """Return the constraint for a measured latency, empty without a limit on it."""
    return {} if limits.max_latency_ms is None else {"max_latency_ms": latency_ms / limits.max_latency_ms - 1}


def violations(constraints: Mapping[str, float], limits: LimitsSection) -> str | None:
    """Return a text such as "max_params 120,300, over 100,000", or None if all limits are met."""
    texts = []
    for name, value in constraints.items():
        limit = getattr(limits, name)
        if value > 0:
            texts.append(f"{name} {amount(limit * (1 + value))}, over {amount(limit)}")
    return "; ".join(texts) or None


def constrain(trial: Trial, constraints: Mapping[str, float]) -> None:
    """Store the constraints with the trial, for the sampler and the dashboard; above 0 is infeasible."""
    if not constraints:
        return
    for name, value in constraints.items():
        trial.set_constraint(name, value)
    set_trial_system_attr(trial, DASHBOARD_KEY, list(constraints.values()))
