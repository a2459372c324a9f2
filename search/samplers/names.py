"""Names of samplers, pruners and the costs of a network. Imports nothing heavy, to keep shell completion fast."""

from typing import Literal

Sampler = Literal["tpe", "gp", "cmaes", "random", "grid", "nsga2"]
Pruner = Literal["percentile", "median", "hyperband", "halving", "patient", "wilcoxon", "freeze-thaw", "none"]
Cost = Literal["parameters", "flops", "size", "latency_ms"]

# What a cost counts, by its name.
UNITS: dict[str, str] = {
    "parameters": "parameters",
    "flops": "FLOPs an image",
    "size": "bytes",
    "latency_ms": "ms an image",
}
