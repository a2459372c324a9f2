"""The search space of a study: its pinned and its searched knobs."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, cast

from optuna import Trial
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from pydantic import ValidationError

from fmnist.config import IMAGE_FIELDS, TrialConfig, knob_fields, knobs
from fmnist.errors import FmnistError
from fmnist.knobs import Choice, Knob, Range, Scalar
from fmnist.refusals import refusals, shown
from fmnist.suggestions import did_you_mean, nearest
from search.errors import SearchError

SEARCH = "search"  # in a study's TOML: search this knob over its declared range
RANGE = frozenset({"low", "high", "log", "step"})
# Usual short names. --set knows them; a TOML file has the names that reports have.
SHORT = {"lr": "learning_rate", "wd": "l2", "width": "filters", "bs": "batch_size"}
MOST_STEPS = 10_000  # of a range; each may become a value of a grid
MOST_POINTS = 100_000  # of a grid, which Optuna holds in memory
ROUNDED = 1 + 1e-9  # tolerance for decimals that are not exact floats: 0.3 - 0.1 is below 0.2


@dataclass(frozen=True)
class Space:
    """The fields in `pinned` have one value, `knobs` are searched; all other fields have TrialConfig's default."""

    pinned: dict[str, Scalar]
    knobs: dict[str, Knob]

    @property
    def points(self) -> float:
        """The number of configurations, infinite if a knob is continuous."""
        return math.prod(len(values) if (values := _values(knob)) else math.inf for knob in self.knobs.values())

    def value_of(self, name: str) -> Scalar | None:
        """Return the one value of a knob, None if the knob is searched."""
        if name in self.knobs:
            return None
        value = self.pinned.get(name, TrialConfig.model_fields[name].default)
        return cast("Scalar", value)

    def of_images(self, size: Mapping[str, Scalar]) -> "Space":
        """Return the space of networks for images of that size, the fields of TrialConfig that follow from the data."""
        return replace(self, pinned=self.pinned | dict(size))

    def suggest(self, trial: Trial) -> TrialConfig:
        """Return the configuration that the trial's sampler proposes."""
        suggested = {name: _suggest(trial, name, knob) for name, knob in self.knobs.items()}
        return TrialConfig.model_validate(self.pinned | suggested)

    def errors(self, values: Mapping[str, Any]) -> list[str]:
        """Return what is wrong with values of knobs that are to be in the space."""
        return [error for name, value in values.items() if (error := self._error(name, value))]

    def _error(self, name: str, value: Any) -> str | None:
        if name in self.knobs:
            knob = self.knobs[name]
            return None if _is_within(value, knob) else f"{name} must be {_describe(knob)}, got {shown(value)}"
        if name not in TrialConfig.model_fields:
            return f"there is no knob {shown(name)}"
        pinned = self.value_of(name)
        return None if value == pinned else f"{name} must be {shown(pinned)}, its pinned value, got {shown(value)}"

    def distributions(self) -> dict[str, BaseDistribution]:
        """Return the searched knobs as Optuna distributions."""
        return {name: distribution(knob) for name, knob in self.knobs.items()}

    def grid(self) -> dict[str, list[Scalar]]:
        """Return all values of each searched knob.

        Raises: SearchError if a knob is continuous, or there are too many points.
        """
        values = {name: _values(knob) for name, knob in self.knobs.items()}
        if continuous := [name for name, options in values.items() if options is None]:
            raise SearchError(
                "The grid sampler needs a list of values for each searched knob; without one: "
                f"{', '.join(continuous)}. Write for example {continuous[0]} = [...] under [knobs], or pin it."
            )
        if self.points > MOST_POINTS:
            raise SearchError(
                f"The grid may have at most {MOST_POINTS:,} points, got {int(self.points):,}. Pin knobs, or use "
                "larger steps."
            )
        return {name: options for name, options in values.items() if options is not None}


def read_space(entries: Mapping[str, Any], *, search_unlisted: bool, context: str) -> Space:
    """Return the space that a study's [knobs] describe.

    A value pins the knob, a list or {low, high} narrows it, "search" searches its declared range.

    Raises: FmnistError with every wrong entry: `context`, the knob, the rule and the value received.
    """
    declared = knobs()
    pinned: dict[str, Scalar] = {}
    searched: dict[str, Knob] = dict(declared) if search_unlisted else {}
    errors: list[str] = []
    for name, entry in entries.items():
        searched.pop(name, None)
        try:
            setting = _read_entry(name, entry)
            if isinstance(setting, Range | Choice):
                searched[name] = setting
            else:
                pinned[name] = setting
        except FmnistError as error:
            errors += [f"{context}: {line}" for line in str(error).splitlines()]
    if errors:
        raise SearchError("\n".join(errors))
    in_order = {name: searched[name] for name in declared if name in searched}
    return Space(pinned, in_order)


def distribution(knob: Knob) -> BaseDistribution:
    """Return the knob as an Optuna distribution."""
    match knob:
        case Choice(options):
            return CategoricalDistribution(options)
        case Range(int() as low, int() as high, log, step):
            return IntDistribution(low, high, log=log, step=int(step or 1))
        case Range(low, high, log, step):
            return FloatDistribution(low, high, log=log, step=step)


def _suggest(trial: Trial, name: str, knob: Knob) -> Scalar:
    match knob:
        case Choice(options):
            return cast("Scalar", trial.suggest_categorical(name, options))
        case Range(int() as low, int() as high, log, step):
            return trial.suggest_int(name, low, high, log=log, step=int(step or 1))
        case Range(low, high, log, step):
            value = trial.suggest_float(name, low, high, log=log, step=step)
            return value if step is None else _on_step(low, high, step, round((value - low) / step))


def _is_within(value: Any, knob: Knob) -> bool:
    if isinstance(knob, Choice):
        return any(value == option and isinstance(value, bool) == isinstance(option, bool) for option in knob.options)
    if isinstance(value, bool) or not isinstance(value, int | float) or not knob.low <= value <= knob.high:
        return False
    step = knob.step or (1 if isinstance(knob.low, int) else None)
    return step is None or math.isclose((steps := (value - knob.low) / step), round(steps), abs_tol=1e-8)


def _describe(knob: Knob) -> str:
    if isinstance(knob, Range):
        return f"from {shown(knob.low)} to {shown(knob.high)}{f' in steps of {shown(knob.step)}' if knob.step else ''}"
    return f"one of {', '.join(shown(option) for option in knob.options)}"


def _values(knob: Knob) -> list[Scalar] | None:
    match knob:
        case Choice(options):
            return list(options)
        case Range(int() as low, int() as high, step=step):
            return list(range(low, high + 1, int(step or 1)))
        case Range(low, high, step=float() as step):
            return [_on_step(low, high, step, index) for index in range(round((high - low) / step) + 1)]
    return None


def _on_step(low: float, high: float, step: float, index: int) -> float:
    # 0.1 * 3 is above 0.3: beyond the range, and a different configuration than 0.3.
    return min(high, float(f"{low + index * step:.12g}"))


def _read_entry(name: str, entry: Any) -> Scalar | Knob:
    if name in IMAGE_FIELDS:
        raise FmnistError(f"{name} is no knob: all networks of a study have one size. Set it under [data] of its TOML.")
    if name not in TrialConfig.model_fields:
        hint = did_you_mean(SHORT.get(name, name), knob_fields())
        raise FmnistError(f"unknown knob {shown(name)}. {hint}")
    if entry != SEARCH and not isinstance(entry, Mapping | list):
        return _checked(name, {name: entry})[0]
    if (knob := knobs().get(name)) is None:
        raise FmnistError(f"{name} cannot be searched and must be pinned to one value, got {shown(entry)}.")
    match entry:
        case Mapping():
            return _read_range(name, entry)
        case list():
            return _read_choice(name, entry)
    return knob


def _read_choice(name: str, options: list[Any]) -> Choice:
    values = _checked(name, {f"{name} entry {place}": option for place, option in enumerate(options, start=1)})
    if not values or len(set(values)) < len(values):
        raise FmnistError(f"{name} must have at least one value in its list and each only once, got {shown(options)}.")
    return Choice(values)


def _read_range(name: str, entry: Mapping[str, Any]) -> Range:
    if unknown := sorted(set(entry) - RANGE):
        raise FmnistError(f"{name} has an unknown {shown(unknown[0])}. {did_you_mean(unknown[0], RANGE)}")
    if not {"low", "high"} <= set(entry):
        raise FmnistError(f"{name} must have low and high, the ends of its range, got {shown(dict(entry))}.")
    low, high = _ends(name, entry)
    log = entry.get("log", False)
    if not isinstance(log, bool):
        raise FmnistError(f"{name}.log must be true or false, got {shown(log)}.")
    if low >= high or (log and low <= 0):
        rule = f"below high{', and above 0 with log' if log else ''}"
        raise FmnistError(f"{name}.low must be {rule}, got {shown(low)} and high {shown(high)}.")
    if "step" not in entry:
        return Range(low, high, log)
    if log:
        raise FmnistError(f"{name}.step requires a range without log, got {shown(entry['step'])}.")
    return Range(low, high, step=_read_step(name, entry["step"], low, high))


def _read_step(name: str, step: Any, low: float, high: float) -> int | float:
    is_whole = isinstance(low, int)
    if (
        isinstance(step, bool)
        or not isinstance(step, int if is_whole else int | float)
        or not 0 < step <= (high - low) * ROUNDED
    ):
        kind = "whole number" if is_whole else "number"
        raise FmnistError(f"{name}.step must be a positive {kind}, at most high - low, got {shown(step)}.")
    steps = (high - low) / step
    if steps > MOST_STEPS * ROUNDED or not math.isclose(steps, round(steps)):
        rule = f"such that high is low plus a whole number of steps, at most {MOST_STEPS:,}"
        raise FmnistError(f"{name}.step must be {rule}, got {shown(step)} from {shown(low)} to {shown(high)}.")
    return step if is_whole else float(step)


def _ends(name: str, entry: Mapping[str, Any]) -> tuple[int | float, ...]:
    if TrialConfig.model_fields[name].annotation not in (int, float):
        raise FmnistError(
            f"{name} must be a value or a list of values: only numbers have a range, got {shown(dict(entry))}."
        )
    checked = _checked(name, {f"{name}.{end}": entry[end] for end in ("low", "high")})
    assert all(isinstance(value, int | float) for value in checked)
    return cast("tuple[int | float, ...]", checked)


def _checked(name: str, values: Mapping[str, Any]) -> tuple[Scalar, ...]:
    """Return the values as validated for the field of that name; the keys of `values` name them in messages."""
    validated: list[Scalar] = []
    errors: list[str] = []
    for label, value in values.items():
        try:
            validated.append(getattr(TrialConfig.model_validate({name: value}), name))
        except ValidationError as error:
            hint = f" Did you mean {SEARCH!r}?" if isinstance(value, str) and nearest(value, [SEARCH]) else ""
            errors += [line + hint for line in refusals(error, TrialConfig, display_names={name: label})]
    if errors:
        raise FmnistError("\n".join(errors))
    return tuple(validated)
