"""Names of samplers and pruners. Imports nothing heavy, to keep shell completion fast."""

from typing import Literal

Sampler = Literal["tpe", "gp", "cmaes", "random", "grid", "nsga2"]
Pruner = Literal["percentile", "median", "hyperband", "halving", "patient", "wilcoxon", "freeze-thaw", "none"]
