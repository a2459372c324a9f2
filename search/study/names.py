"""What a study, a sampler and a pruner may be called on the command line; loads nothing, for the sake of completion."""

from importlib.resources import files
from typing import Literal

Sampler = Literal["tpe", "gp", "cmaes", "random", "grid", "nsga2"]
Pruner = Literal["percentile", "median", "hyperband", "halving", "patient", "wilcoxon", "none"]


def shipped_studies() -> list[str]:
    """Names of the studies that come with the package."""
    return sorted(entry.name.removesuffix(".toml") for entry in files("studies").iterdir() if entry.name.endswith(".toml"))
