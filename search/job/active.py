"""A trial under way."""

from dataclasses import dataclass, field

from optuna import Trial

from fmnist.config import TrialConfig
from fmnist.curve import CurvePoint
from search.executors import Predicted


@dataclass
class Active:
    """A trial that was submitted and has not been told or put back."""

    trial: Trial
    config: TrialConfig
    constraints: dict[str, float]  # name -> above 0 where the network is over its limit
    curve: list[CurvePoint] = field(default_factory=list)
    predicted: Predicted | None = None
    pausing: str | None = None  # why it pauses after the current epoch
