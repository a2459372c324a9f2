"""What F1 is to be expected of so much training on Fashion-MNIST: a power law through finished studies.

studies/finals.csv has their test scores, and studies/LOG.md how they were measured.
"""

import csv
import math
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

FILE = "finals.csv"  # in `studies`
SIZES = (50_000, 300_000)  # parameters of networks that the law is for: smaller ones are limited by their size


@dataclass(frozen=True)
class Expected:
    """A macro F1 on the test split, with the standard deviation of what may come instead."""

    f1: float
    deviation: float

    def __str__(self) -> str:
        return f"{self.f1:.3f} ± {self.deviation:.3f}"


def expected(operations: float, parameters: float) -> Expected | None:
    """Return what to expect of a network trained with so many operations of its forward pass, all images together.

    None for a network of a size of which nothing is known.
    """
    if not SIZES[0] <= parameters <= SIZES[1]:
        return None
    logs, losses, deviations = _finals()
    slope, constant = np.polyfit(logs, losses, 1)
    loss = math.exp(slope * math.log(operations) + constant)
    # Of the law: what its points deviate from it, more where it is extrapolated, as for a straight line.
    error = math.sqrt(((slope * logs + constant - losses) ** 2).sum() / max(1, len(logs) - 2))
    far = (math.log(operations) - logs.mean()) ** 2 / ((logs - logs.mean()) ** 2).sum()
    of_law = loss * error * math.sqrt(1 + 1 / len(logs) + far)
    return Expected(1 - loss, math.hypot(of_law, float(np.sqrt(np.mean(deviations**2)))))


@cache
def _finals() -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return the logarithms of the operations and of 1 - F1, and the deviations between seeds. Shape: [studies]."""
    text = files("studies").joinpath(FILE).read_text(encoding="utf-8")
    rows = list(csv.DictReader(text.splitlines()))
    operations, f1, deviations = (
        np.array([float(row[name]) for row in rows]) for name in ("operations", "macro_f1", "sd")
    )
    return np.log(operations), np.log(1 - f1), deviations
