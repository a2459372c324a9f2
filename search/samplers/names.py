"""What samplers and pruners are called in a study and on the command line; loads nothing, for the sake of
completion.
"""

from typing import Literal

Sampler = Literal["tpe", "gp", "cmaes", "random", "grid", "nsga2"]
Pruner = Literal["percentile", "median", "hyperband", "halving", "patient", "wilcoxon", "none"]
