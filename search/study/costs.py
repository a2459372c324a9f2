"""The costs of a network that a study can weigh its F1 against."""

from collections.abc import Sequence

from fmnist.config import TrialConfig
from fmnist.network import describe
from search.samplers.names import Cost

UNITS: dict[Cost, str] = {"parameters": "parameters", "flops": "FLOPs an image", "size": "bytes"}


def costs_of(against: Sequence[Cost], config: TrialConfig, classes: int) -> tuple[float, ...]:
    """Return the costs of the network of that configuration, in the order of `against`."""
    network = describe(config, classes)
    costs = {"parameters": network.parameters, "flops": network.flops, "size": network.weight_bytes}
    return tuple(float(costs[cost]) for cost in against)


def dominates(f1: float, costs: Sequence[float], other_f1: float, other_costs: Sequence[float]) -> bool:
    """Whether a network that is no worse and costs no more than another one is better or cheaper."""
    is_no_worse = f1 >= other_f1 and all(cost <= other for cost, other in zip(costs, other_costs, strict=True))
    return is_no_worse and (f1 > other_f1 or tuple(costs) != tuple(other_costs))
