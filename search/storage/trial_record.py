"""What a trial holds beside Optuna's own fields: user attributes, which only this module writes and reads."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any, Literal, get_args

from optuna import Trial
from optuna.trial import FrozenTrial

from fmnist.curve import CurvePoint

CONFIG = "config"  # the attribute of every trial that began here
REFUSED = "refused"  # of a trial whose network is over a limit, so that it was not trained
FOREIGN = "foreign"  # of a trial of another program, which counts nowhere
Foreign = Literal["added", "enqueued"]


class TrialRecord:
    """The attributes of a trial, whichever program wrote them: what it lacks, or has in another form, is None."""

    def __init__(self, trial: Trial | FrozenTrial) -> None:
        self._attributes = trial.user_attrs

    @property
    def config(self) -> Mapping[str, Any] | None:
        """What the trial trained, as TrialConfig.parse takes it. Every trial that began here has it."""
        config = self._attributes.get(CONFIG)
        return config if isinstance(config, dict) else None

    @property
    def began(self) -> bool:
        """Whether it began in a run of this toolkit, and so has a configuration."""
        return CONFIG in self._attributes

    @property
    def seed(self) -> int | None:
        """Of its training."""
        return _whole(self._attributes.get("seed"))

    @property
    def parameters(self) -> int | None:
        """Of its network."""
        return _whole(self._attributes.get("parameters"))

    @property
    def flops(self) -> int | None:
        """Of its network's forward pass, for one image."""
        return _whole(self._attributes.get("flops"))

    @property
    def curve(self) -> tuple[CurvePoint, ...]:
        """One point an epoch; empty before the trial ends."""
        return _curve(self._attributes.get("curve"))

    @property
    def seconds(self) -> float | None:
        """Of training."""
        return _number(self._attributes.get("seconds"))

    @property
    def reason(self) -> str | None:
        """Why it ended before its last epoch."""
        reason = self._attributes.get("reason")
        return None if reason is None else str(reason)

    @property
    def is_refused(self) -> bool:
        """Whether its network is over a limit, so that it was not trained."""
        return REFUSED in self._attributes

    @property
    def foreign(self) -> Foreign | None:
        """How another program made it, if one did."""
        foreign = self._attributes.get(FOREIGN)
        return foreign if foreign in get_args(Foreign) else None

    @property
    def counts(self) -> bool:
        """Whether it uses up one of the study's budget."""
        return not self.is_refused and self.foreign is None

    def trains(self, *, config: Mapping[str, Any], parameters: int, flops: int) -> bool:
        """Whether the trial trained this configuration."""
        # In this order: of thousands of trials, few have as many parameters and FLOPs.
        return (self.parameters, self.flops) == (parameters, flops) and self.config == config


def note_start(trial: Trial, *, config: Mapping[str, Any], seed: int, parameters: int, flops: int) -> None:
    """Write what the trial trains."""
    for key, value in {"parameters": parameters, "flops": flops, CONFIG: dict(config), "seed": seed}.items():
        trial.set_user_attr(key, value)


def note_end(trial: Trial, curve: Sequence[CurvePoint], reason: str | None) -> None:
    """Write how the training went; `reason` says why it ended before its last epoch."""
    trial.set_user_attr("curve", [asdict(point) for point in curve])
    trial.set_user_attr("seconds", curve[-1].seconds if curve else None)
    if reason:
        note_reason(trial, reason)


def note_reason(trial: Trial, reason: str) -> None:
    """Write why the trial ended before its last epoch."""
    trial.set_user_attr("reason", reason)


def note_refused(trial: Trial) -> None:
    """Mark the trial: its network is over a limit."""
    trial.set_user_attr(REFUSED, True)


def note_foreign(trial: Trial, reason: str) -> None:
    """Mark the trial, which another program enqueued: it counts nowhere."""
    note_reason(trial, reason)
    trial.set_user_attr(FOREIGN, "enqueued")


def _curve(points: Any) -> tuple[CurvePoint, ...]:
    if not isinstance(points, list) or not all(isinstance(point, dict) for point in points):
        return ()
    names = [field.name for field in fields(CurvePoint) if field.name != "number"]
    return tuple(
        CurvePoint(number, **{name: _number(point.get(name)) for name in names})
        for point in points
        if (number := _whole(point.get("number"))) is not None
    )


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _number(value: Any) -> float | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and not math.isnan(value) else None
