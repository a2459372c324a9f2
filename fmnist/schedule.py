"""Learning rate schedules."""

import math
from collections.abc import Iterable

from fmnist.config import TrialConfig

WARM_UP = 0.2  # share of the steps in which triangle and trapezoid rise
COOL_DOWN = 0.4  # share of the steps in which the trapezoid falls


def learning_rates(config: TrialConfig, steps: Iterable[int], total: int) -> list[float]:
    """Return the learning rate at each of `steps`, of `total` in the training."""
    return [config.learning_rate * learning_rate_scale(config, step, total) for step in steps]


def learning_rate_scale(config: TrialConfig, step: int, steps: int) -> float:
    """Return the learning rate at `step` of `steps` as a share of its peak; all but the constant one end near 0."""
    done = step / steps
    match config.schedule:
        case "constant":
            return 1.0
        case "cosine":
            return (1 + math.cos(math.pi * done)) / 2
        case "triangle":
            return max(0.1, done / WARM_UP) if done < WARM_UP else max(0.001, (1 - done) / (1 - WARM_UP))
        case "trapezoid":  # warm-up, stable, decay
            return max(0.1, done / WARM_UP) if done < WARM_UP else max(0.001, min(1.0, (1 - done) / COOL_DOWN))
