"""What earlier searches found, as a first guess of a new one, whatever their ranges, knobs and epochs were."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, CategoricalDistribution

from search.samplers.cube import Cube
from search.samplers.learning_curves import CurveModel, Posterior, Trainings


class Prior:
    """Predictions of earlier searches at the points of a new one.

    They are the mean y after the last epoch of their own trainings, relative to the mean over their trials: the model
    of the new search learns by how much the two differ, and how far to trust them.
    """

    def __init__(self, space: Mapping[str, BaseDistribution], pinned: Mapping[str, Any]) -> None:
        """`pinned`: the value of every knob that the new search does not vary."""
        self._cube, self._pinned = Cube(space), dict(pinned)
        self._earlier: list[tuple[Translation, Posterior, float]] = []

    def __len__(self) -> int:
        return len(self._earlier)

    def add(
        self,
        space: Mapping[str, BaseDistribution],
        configurations: Sequence[Mapping[str, Any]],
        f1: NDArray[np.float64],
        rng: np.random.Generator,
    ) -> None:
        """Add an earlier search: its space, and the F1 of each epoch of its trials, NaN where they were not trained."""
        cube = Cube(space)
        trainings = Trainings(cube.points(configurations), f1)
        model = CurveModel(cube.knob_of)
        model.fit(trainings, rng)
        posterior = model.condition(trainings)
        middle = float(posterior.of_trainings().mean.mean())
        self._earlier.append((Translation(self._cube, self._pinned, cube), posterior, middle))

    def __call__(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the predictions at points of the new search. Shape: [points, earlier searches]."""
        columns = [posterior.mean_at(translate(points)) - middle for translate, posterior, middle in self._earlier]
        return np.stack(columns, axis=1) if columns else np.empty((len(points), 0))


@dataclass(frozen=True)
class Translation:
    """Points of one cube as points of another: values outside its ranges become its ends.

    An option that the other cube lacks is none of its options, equally far from all of them.
    """

    cube: Cube
    pinned: Mapping[str, Any]  # knob -> its value, for knobs that the first cube does not have
    other: Cube

    def __call__(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the points in the other cube. Shape: [points, dimensions of the other]."""
        return np.concatenate([self._columns(name, points) for name in self.other.space], axis=1)

    def _columns(self, name: str, points: NDArray[np.float64]) -> NDArray[np.float64]:
        if name not in self.cube.space:
            return np.repeat(self.other.place(name, [self.pinned[name]]), len(points), axis=0)
        own, source = points[:, self.cube.columns(name)], self.cube.space[name]
        if isinstance(source, CategoricalDistribution):
            return own @ self.other.place(name, source.choices)
        return self.other.place(name, self.cube.values(name, own[:, 0]))
