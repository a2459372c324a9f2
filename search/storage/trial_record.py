"""The attributes of a trial: their names, how they are written, and how they are read.

optuna-dashboard shows every user attribute on one line, and its page becomes as wide as the longest one. So the user
attributes are short; what is long is in system attributes, which it does not list.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any, Literal

from optuna import Trial
from optuna.trial import FrozenTrial

from fmnist.config import completed
from fmnist.curve import CurvePoint, thinned
from search.storage.optuna_private import set_trial_system_attr

LONG = "fmnist-search:"  # begins the name of a system attribute; a long text has its user attribute's name after it
CONFIG = f"{LONG}config"  # a system attribute of every trial that this toolkit started
CURVE = f"{LONG}curve"  # the system attribute with a point for each epoch
REASON = "reason"  # why the trial ended before its last epoch
EARLIER = {CONFIG: "config", CURVE: "curve"}  # the user attributes that hold them in trials of earlier versions
REFUSED = "refused"  # marks a trial that was not trained, because its network is over a limit
PAUSE = "pause"  # why a trial paused, while its snapshot waits
OUTSIDE = "outside"  # what is not in the study's space, since that was changed
FOREIGN = "foreign"  # marks a trial of another program, which is never counted
LINE = 80  # characters of a user attribute that fit a window of 1,200 pixels
Foreign = Literal["added", "enqueued"]


class TrialRecord:
    """The attributes of a trial of any program; missing ones, and those of another type, are None."""

    def __init__(self, trial: FrozenTrial) -> None:
        self._trial, self._attributes = trial, trial.user_attrs

    @property
    def config(self) -> Mapping[str, Any] | None:
        """The trained configuration, for TrialConfig.parse. Every trial that this toolkit started has it."""
        config = self._long(CONFIG)
        return config if isinstance(config, dict) else None

    @property
    def began(self) -> bool:
        """Whether a run of this toolkit started the trial, so that it has a configuration."""
        return CONFIG in self._trial.system_attrs or EARLIER[CONFIG] in self._attributes

    @property
    def seed(self) -> int | None:
        """The seed of the training."""
        return _whole(self._attributes.get("seed"))

    @property
    def parameters(self) -> int | None:
        """The number of parameters of the network."""
        return _whole(self._attributes.get("parameters"))

    @property
    def flops(self) -> int | None:
        """The operations of the network's forward pass for one image."""
        return _whole(self._attributes.get("flops"))

    @property
    def curve(self) -> tuple[CurvePoint, ...]:
        """One point per epoch; empty before the trial ends or pauses."""
        return _curve(self._long(CURVE))

    @property
    def seconds(self) -> float | None:
        """The seconds of training."""
        return _number(self._attributes.get("seconds"))

    @property
    def reason(self) -> str | None:
        """Why the trial ended before its last epoch."""
        return self._text(REASON)

    @property
    def pause(self) -> str | None:
        """Why the trial was paused when it was paused last."""
        return self._text(PAUSE)

    @property
    def outside(self) -> str | None:
        """What of the configuration is not in the study's space, which was changed since; None if all of it is."""
        return self._text(OUTSIDE)

    @property
    def is_refused(self) -> bool:
        """Whether the trial was not trained, because its network is over a limit."""
        return REFUSED in self._attributes

    @property
    def foreign(self) -> Foreign | None:
        """How another program created the trial, if one did."""
        if FOREIGN not in self._attributes:
            return None
        return "added" if self._attributes[FOREIGN] == "added" else "enqueued"

    @property
    def counts(self) -> bool:
        """Whether the trial counts against the study's budget."""
        return not self.is_refused and self.foreign is None

    def trains(self, *, config: Mapping[str, Any], parameters: int, flops: int) -> bool:
        """Whether the trial trained this configuration."""
        # The cheap comparison first: of thousands of trials, few have the same parameters and FLOPs.
        if (self.parameters, self.flops) != (parameters, flops) or self.config is None:
            return False
        return completed(self.config) == config

    def _long(self, key: str) -> Any:
        # A trial that an earlier version paused, and this one continued, has two curves: the system attribute is newer.
        attributes = self._trial.system_attrs
        return attributes[key] if key in attributes else self._attributes.get(EARLIER[key])

    def _text(self, key: str) -> str | None:
        if (text := self._attributes.get(key)) is None:
            return None
        whole = self._trial.system_attrs.get(LONG + key)  # possibly of a text that was replaced by a shorter one
        return whole if isinstance(whole, str) and text_attributes(key, whole)[key] == text else str(text)


def text_attributes(key: str, text: str) -> dict[str, str]:
    """Return the user attribute `key` with as much of the text as fits a line, and all of a longer one under `LONG`."""
    line = " ".join(text.split())
    if line == text and len(line) <= LINE:
        return {key: text}
    return {key: line if len(line) <= LINE else f"{line[: LINE - 1].rstrip()}…", LONG + key: text}


def note_start(trial: Trial, *, config: Mapping[str, Any], seed: int, parameters: int, flops: int) -> None:
    """Write the trial's configuration, seed and network size."""
    for key, value in {"parameters": parameters, "flops": flops}.items():
        trial.set_user_attr(key, value)
    set_trial_system_attr(trial, CONFIG, dict(config))
    trial.set_user_attr("seed", seed)  # last: a trial with a seed has all of them


def note_end(trial: Trial, curve: Sequence[CurvePoint], reason: str | None) -> None:
    """Write the trial's curve and, if it ended before its last epoch, the reason."""
    _note_curve(trial, curve)
    if reason:
        note_reason(trial, reason)


def note_reason(trial: Trial, reason: str) -> None:
    """Write why the trial ended before its last epoch."""
    _note_text(trial, REASON, reason)


def note_pause(trial: Trial, curve: Sequence[CurvePoint], why: str) -> None:
    """Write the curve so far, and why the trial pauses."""
    _note_curve(trial, curve)
    _note_text(trial, PAUSE, why)


def note_refused(trial: Trial) -> None:
    """Mark the trial as not trained, because its network is over a limit."""
    trial.set_user_attr(REFUSED, True)


def note_foreign(trial: Trial, reason: str) -> None:
    """Mark the trial as enqueued by another program and never counted."""
    note_reason(trial, reason)
    trial.set_user_attr(FOREIGN, "enqueued")


def _note_text(trial: Trial, key: str, text: str) -> None:
    for name, value in text_attributes(key, text).items():
        if name == key:
            trial.set_user_attr(name, value)
        else:
            set_trial_system_attr(trial, name, value)


def _note_curve(trial: Trial, curve: Sequence[CurvePoint]) -> None:
    set_trial_system_attr(trial, CURVE, [asdict(point) for point in thinned(curve)])
    trial.set_user_attr("seconds", curve[-1].seconds if curve else None)


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
