"""Learning curves for any configuration of a space, interpolated between recorded curves, with recorded noise.

The interpolation is a Gaussian process over the knobs, fitted to all epochs at once. Its prediction is the true curve
in a replayed search. Because this may favour searches that use a Gaussian process, the nearest recorded curve serves as
an alternative. The curve of a training is the true curve plus the deviation of a recorded training from the mean over
its seeds.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import qmc, spearmanr
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel
from sklearn.model_selection import KFold
from sklearn.neighbors import KNeighborsRegressor

from benchmarks.curves import CURVES, SPACE, Curve, Points, read_curves, read_space
from fmnist.errors import FmnistError

FLOOR, CEILING = 0.05, 0.97  # bounds of the logit of F1, which weights the last per cent like the first
LEAST = FLOOR + 0.01  # F1 of a network that has learned nothing, whatever its own
FOLDS = 8
NEIGHBOURS = 5  # whose seconds are averaged
SCAN = 15  # the best point is found among 2**SCAN


@dataclass(frozen=True)
class Fit:
    """The cross-validated quality of the interpolation for the last epoch, in the better half of the space."""

    error: float  # root mean square
    rank_correlation: float  # Spearman's
    seed_deviation: float  # standard deviation over seeds, a lower bound of the error


class Replay:
    """Trainings that take no time. With `nearest`, each is the nearest recorded one."""

    def __init__(self, file: Path = CURVES, space: Path = SPACE, *, nearest: bool = False) -> None:
        curves = read_curves(file)
        self.spec = read_space(space)
        self.epochs = self.spec.epochs
        if any(set(curve.knobs) != set(self.spec.space.knobs) for curve in curves):
            raise FmnistError(f"{file} must have the knobs of {space}. Give --space and --curves that belong together.")
        self._points = Points(self.spec.space)
        self._complete = [curve for curve in curves if len(curve.curve) == self.epochs]
        self._units = np.array([self._points.unit(curve.knobs) for curve in self._complete])
        self._values = np.array([curve.curve for curve in self._complete])
        self._model: _Smooth | _Nearest = (_Nearest if nearest else _Smooth)(self._units, self._values)
        self._deviations = _deviations(self._complete)
        self._log_seconds = np.log([curve.seconds / self.epochs for curve in self._complete])

    @property
    def recorded(self) -> NDArray[np.float64]:
        """The recorded curves. Shape: [trainings, epochs]."""
        return self._values

    def truth(self, knobs: Mapping[str, Any]) -> NDArray[np.float64]:
        """Return the validation F1 after each epoch, without noise. Shape: [epochs]."""
        return self._model.at(self._points.unit(knobs)[None]).ravel()

    def training(self, knobs: Mapping[str, Any], rng: np.random.Generator) -> NDArray[np.float64]:
        """Return the validation F1 after each epoch, with the noise of one seed. Shape: [epochs]."""
        curve: NDArray[np.float64] = self.truth(knobs) + self._deviations[rng.integers(len(self._deviations))]
        return curve.clip(0, 1)

    def seconds(self, knobs: Mapping[str, Any]) -> float:
        """Return the seconds of an epoch, from the nearest recorded trainings, weighted by their distance."""
        distances = np.sqrt(np.square(self._units - self._points.unit(knobs)).sum(axis=1))
        nearest = np.argpartition(distances, NEIGHBOURS)[:NEIGHBOURS]
        weights = 1 / np.maximum(distances[nearest], 1e-9)
        return float(np.exp(np.average(self._log_seconds[nearest], weights=weights)))

    def best(self) -> float:
        """Return the best last epoch of many points; a search may exceed it slightly."""
        return float(self.scanned()[1].max())

    def scanned(self) -> tuple[list[Mapping[str, Any]], NDArray[np.float64]]:
        """Return many points and the last epoch of each, without noise. Shape: [points]."""
        scan = qmc.Sobol(self._units.shape[1], seed=0).random_base2(SCAN)
        # The round trip over the knobs rounds each point to allowed values.
        knobs: list[Mapping[str, Any]] = [self._points.knobs(point) for point in scan]
        return knobs, self._model.at(np.array([self._points.unit(point) for point in knobs]))[:, -1]

    def fit(self) -> Fit:
        """Cross-validate over points, so that no point is predicted from its other seeds."""
        points = np.array([curve.point for curve in self._complete])
        predicted = np.zeros(len(points))
        for _, held_out in KFold(FOLDS, shuffle=True, random_state=0).split(np.unique(points)):
            out = np.isin(points, np.unique(points)[held_out])
            model = self._model.refitted(self._units[~out], self._values[~out])
            predicted[out] = model.at(self._units[out])[:, -1]
        last = self._values[:, -1]
        better = last >= np.median(last)
        return Fit(
            error=float(np.sqrt(np.mean((predicted - last)[better] ** 2))),
            rank_correlation=float(spearmanr(predicted[better], last[better]).statistic),
            seed_deviation=float(np.sqrt(np.mean(self._deviations[:, -1] ** 2))),
        )


class _Smooth:
    def __init__(self, unit: NDArray[np.float64], values: NDArray[np.float64], *, kernel: Any = None) -> None:
        """A `kernel` from an earlier fit is not optimized again."""
        new = ConstantKernel() * Matern(np.ones(unit.shape[1]), nu=2.5) + WhiteKernel()
        model = GaussianProcessRegressor(kernel or new, normalize_y=True, optimizer=None if kernel else "fmin_l_bfgs_b")
        self._model = model.fit(unit, _logit(values))

    def refitted(self, unit: NDArray[np.float64], values: NDArray[np.float64]) -> "_Smooth":
        return _Smooth(unit, values, kernel=self._model.kernel_)

    def at(self, unit: NDArray[np.float64]) -> NDArray[np.float64]:
        return _inverse_logit(self._model.predict(unit))


class _Nearest:
    def __init__(self, unit: NDArray[np.float64], values: NDArray[np.float64]) -> None:
        points, point_of = np.unique(unit, axis=0, return_inverse=True)
        means = [values[point_of == point].mean(axis=0) for point in range(len(points))]
        self._model = KNeighborsRegressor(1).fit(points, means)

    def refitted(self, unit: NDArray[np.float64], values: NDArray[np.float64]) -> "_Nearest":
        return _Nearest(unit, values)

    def at(self, unit: NDArray[np.float64]) -> NDArray[np.float64]:
        curves: NDArray[np.float64] = self._model.predict(unit)
        return curves


def _logit(values: NDArray[np.float64]) -> NDArray[np.float64]:
    values = values.clip(min=LEAST)
    return np.log((values - FLOOR) / (CEILING - values))


def _inverse_logit(values: NDArray[np.float64]) -> NDArray[np.float64]:
    f1: NDArray[np.float64] = FLOOR + (CEILING - FLOOR) / (1 + np.exp(-values))
    return f1


def _deviations(curves: Sequence[Curve]) -> NDArray[np.float64]:
    """Return each training's deviation from the mean over its seeds, without bias. Shape: [trainings, epochs]."""
    by_point: dict[int, list[tuple[float, ...]]] = defaultdict(list)
    for curve in curves:
        by_point[curve.point].append(curve.curve)
    groups = [np.array(group) for group in by_point.values() if len(group) > 1]
    return np.concatenate([(group - group.mean(axis=0)) * np.sqrt(len(group) / (len(group) - 1)) for group in groups])
