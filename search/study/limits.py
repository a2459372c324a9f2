"""What a network may cost at most, as constraints that the sampler learns from and optuna-dashboard shows."""

from collections.abc import Mapping

from optuna import Trial

from fmnist.config import TrialConfig
from fmnist.network import describe
from search.storage.optuna_private import set_trial_system_attr
from search.study.spec import LimitsSection

DASHBOARD_KEY = (
    "constraints"  # where optuna-dashboard 0.21 looks; Optuna 5 itself has a key for each constraint, and reads both
)


def constraints_of(limits: LimitsSection, config: TrialConfig, classes: int) -> dict[str, float]:
    """By how much, as a share of the limit, the network is over each limit that can be told without building it; up to
    0 is within.
    """
    found = {}
    network = describe(config, classes)
    if limits.max_params is not None:
        found["max_params"] = network.parameters / limits.max_params - 1
    if limits.max_size is not None:
        found["max_size"] = network.weight_bytes / limits.max_size - 1
    return found


def over(latency_ms: float, limits: LimitsSection) -> dict[str, float]:
    """The same of the measured latency."""
    return {} if limits.max_latency_ms is None else {"max_latency_ms": latency_ms / limits.max_latency_ms - 1}


def violations(constraints: Mapping[str, float], limits: LimitsSection) -> str | None:
    """ "max_params 120,300, over 100,000", None where nothing is over its limit."""
    found = []
    for name, value in constraints.items():
        limit = getattr(limits, name)
        if value > 0:
            found.append(f"{name} {_number(limit * (1 + value))}, over {_number(limit)}")
    return "; ".join(found) or None


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def constrain(trial: Trial, constraints: Mapping[str, float]) -> None:
    """The trial carries the constraints, for the sampler and for the dashboard; above 0 is infeasible."""
    if not constraints:
        return
    for name, value in constraints.items():
        trial.set_constraint(name, value)
    set_trial_system_attr(trial, DASHBOARD_KEY, list(constraints.values()))
