"""The unit cube of a search space: configurations as points, with every point rounded to an allowed one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from search.storage.optuna_private import SearchSpaceTransform

MOST_VALUES = 1_000  # of a knob that is rounded; a finer one counts as continuous


@dataclass(frozen=True)
class Cube:
    """A knob has one dimension, or one for each of its options, of which the largest selects the option."""

    space: Mapping[str, BaseDistribution]

    @cached_property
    def knob_of(self) -> NDArray[np.int64]:
        """The index of the knob that a dimension belongs to. Shape: [dimensions]."""
        return np.repeat(np.arange(len(self.space)), [_width(distribution) for distribution in self.space.values()])

    def points(self, configurations: Sequence[Mapping[str, Any]]) -> NDArray[np.float64]:
        """Return the configurations as points. Shape: [configurations, dimensions], each in 0..1."""
        points = [self._transform.transform({name: knobs[name] for name in self.space}) for knobs in configurations]
        return np.array(points).reshape(-1, len(self.knob_of))

    def knobs(self, point: NDArray[np.float64]) -> dict[str, Any]:
        """Return the configuration at a point. Shape: [dimensions]."""
        return dict(self._transform.untransform(point))

    def columns(self, name: str) -> NDArray[np.int64]:
        """Return the dimensions of a knob."""
        return np.flatnonzero(self.knob_of == list(self.space).index(name))

    def values(self, name: str, places: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the values of a knob with a range at places in its dimension, not rounded. Shape: [places]."""
        distribution = self.space[name]
        (first, last), (low, high) = self._ends(name)
        scaled = low + (places - first) / (last - first) * (high - low)
        return np.asarray(np.exp(scaled) if _is_log(distribution) else scaled)

    def place(self, name: str, values: Sequence[Any] | NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the coordinates of values of a knob, which may be outside its range. Shape: [values, dimensions].

        Outside a range they are its end. What is none of the options is no option; a number is the nearest one.
        """
        distribution = self.space[name]
        if isinstance(distribution, CategoricalDistribution):
            return np.array([_marks(value, distribution.choices) for value in values]).reshape(len(values), -1)
        (first, last), (low, high) = self._ends(name)
        numbers = np.array([float(value) if _is_number(value) else np.nan for value in values])
        with np.errstate(divide="ignore", invalid="ignore"):
            scaled = np.log(numbers) if _is_log(distribution) else numbers
            places = first + (scaled - low) / (high - low) * (last - first)
        return np.asarray(np.clip(np.nan_to_num(places, nan=0.5, neginf=first), first, last)[:, None])

    def random(self, count: int, rng: np.random.Generator) -> NDArray[np.float64]:
        """Return random points. Shape: [count, dimensions]."""
        return self.rounded(rng.random((count, len(self.knob_of))))

    def near(
        self, point: NDArray[np.float64], count: int, width: float, rng: np.random.Generator
    ) -> NDArray[np.float64]:
        """Return points that differ from `point` in some knobs, by about `width`. Shape: [count, dimensions]."""
        moved = rng.random((count, len(self.space))) < max(0.3, 1 / len(self.space))
        moved[np.arange(count), rng.integers(len(self.space), size=count)] = True  # at least one
        # An option changes where noise exceeds the 1 that marks it.
        scale = np.array([1.0 if isinstance(kind, CategoricalDistribution) else width for kind in self.space.values()])
        noise = rng.normal(size=(count, len(self.knob_of))) * scale[self.knob_of]
        return self.rounded(np.clip(point + noise * moved[:, self.knob_of], 0, 1))

    def rounded(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the nearest points that are configurations. Shape: [count, dimensions]."""
        points = points.copy()
        for name, distribution in self.space.items():
            columns = self.columns(name)
            if isinstance(distribution, CategoricalDistribution):
                chosen = points[:, columns].argmax(axis=1)
                points[:, columns] = np.eye(len(columns))[chosen]
            elif (allowed := self._allowed[name]) is not None:
                column = columns[0]
                middles = (allowed[1:] + allowed[:-1]) / 2
                points[:, column] = allowed[np.searchsorted(middles, points[:, column])]
        return points

    def _ends(self, name: str) -> tuple[tuple[float, float], tuple[float, float]]:
        """Return the places of a range's ends, and the ends on the scale that is linear in its dimension."""
        distribution: Any = self.space[name]
        transform = SearchSpaceTransform({name: distribution}, transform_0_1=True)
        ends = (distribution.low, distribution.high)
        first, last = (float(transform.transform({name: end})[0]) for end in ends)
        low, high = (float(np.log(end)) if distribution.log else float(end) for end in ends)
        return (first, last), (low, high)

    @cached_property
    def _allowed(self) -> dict[str, NDArray[np.float64] | None]:
        """The allowed places of each knob in its dimension, ascending; None if it is continuous."""
        allowed: dict[str, NDArray[np.float64] | None] = {}
        for name, distribution in self.space.items():
            transform = SearchSpaceTransform({name: distribution}, transform_0_1=True)
            values = _values(distribution)
            allowed[name] = None if values is None else np.array([transform.transform({name: v})[0] for v in values])
        return allowed

    @cached_property
    def _transform(self) -> SearchSpaceTransform:
        return SearchSpaceTransform(dict(self.space), transform_0_1=True)


def _is_log(distribution: Any) -> bool:
    return bool(distribution.log)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _marks(value: Any, options: Sequence[Any]) -> list[float]:
    if _is_number(value) and all(_is_number(option) for option in options):
        nearest = min(range(len(options)), key=lambda index: abs(options[index] - value))
        return [float(index == nearest) for index in range(len(options))]
    return [float(value == option and isinstance(value, bool) == isinstance(option, bool)) for option in options]


def _width(distribution: BaseDistribution) -> int:
    return len(distribution.choices) if isinstance(distribution, CategoricalDistribution) else 1


def _values(distribution: BaseDistribution) -> list[int] | list[float] | None:
    match distribution:
        case IntDistribution(low=low, high=high, step=step) if (high - low) // step < MOST_VALUES:
            return list(range(low, high + 1, step))
        case FloatDistribution(low=low, high=high, step=float() as step) if (high - low) / step < MOST_VALUES:
            return [min(high, low + step * index) for index in range(round((high - low) / step) + 1)]
    return None
