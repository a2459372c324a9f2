"""The costs of a network that a study can weigh its F1 against."""

from collections.abc import Callable, Sequence
from math import prod

from fmnist.config import TrialConfig
from fmnist.network import Architecture, describe
from search.samplers.names import Cost
from search.study.front import LatencyModel
from search.study.sections import SearchSection
from search.study.spec import StudySpec
from search.study.study import Study


def latency_parts(network: Architecture) -> tuple[float, ...]:
    """Return what the time for one image grows with: 1, layers, operations, numbers in maps, bytes of weights."""
    numbers = network.views * sum(prod(layer.output) for layer in network.layers)
    return 1.0, float(len(network.layers)), float(network.flops), float(numbers), float(network.weight_bytes)


def costs_of(
    against: Sequence[Cost], config: TrialConfig, classes: int, latency: LatencyModel | None
) -> tuple[float, ...]:
    """Return the costs of the network of that configuration, in the order of `against`."""
    network = describe(config, classes)
    return tuple(_cost(cost, network, latency) for cost in against)


def cost_function(study: Study, spec: StudySpec, classes: int) -> Callable[[TrialConfig], tuple[float, ...]]:
    """Return the function from a configuration to the costs of the network that the study is for."""
    latency = study.read(LatencyModel)
    return lambda config: costs_of(spec.search.against, spec.final.deployed(config), classes, latency)


def with_floor(search: SearchSection, costs: Sequence[float]) -> tuple[float, ...]:
    """Return the costs as the search counts them: none below its floor."""
    if not search.floor:
        return tuple(costs)
    return tuple(max(cost, floor) for cost, floor in zip(costs, search.floor, strict=True))


def _cost(cost: Cost, network: Architecture, latency: LatencyModel | None) -> float:
    match cost:
        case "parameters":
            return float(network.parameters)
        case "flops":
            return float(network.flops)
        case "size":
            return float(network.weight_bytes)
        case "latency_ms":
            assert latency is not None, "it is measured before a search begins"
            return sum(part * each for part, each in zip(latency_parts(network), latency.milliseconds, strict=True))
