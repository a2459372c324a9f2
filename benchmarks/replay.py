"""Recorded learning curves for any configuration of their space: interpolated between the recorded ones, with recorded
noise.

The interpolation is a Gaussian process over the knobs, fitted to all epochs at once; what it says is the truth of a
replayed search. As it may flatter searches that model with one, a second opinion takes the nearest recorded curve for
the truth. A training's curve is the truth plus the deviation of one that was recorded with several seeds from the mean
of its seeds.
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

from benchmarks.curves import CURVES, Curve, Points, read_curves, read_space

FLOOR, CEILING = 0.05, 0.97  # F1 between them is stretched, so that the last per cent count as much as the first
FOLDS = 8
SCAN = 15  # 2 to this power points are looked at for the best


@dataclass(frozen=True)
class Fit:
    """How well the interpolation foretells last epochs that it was not fitted to, in the better half of the space."""

    error: float  # root mean square
    rank_correlation: float  # Spearman's
    seed_deviation: float  # standard deviation between seeds, with which it cannot but differ


class Replay:
    """Trainings that take no time; where `nearest`, each is one of the recorded."""

    def __init__(self, file: Path = CURVES, *, nearest: bool = False) -> None:
        curves = read_curves(file)
        self.spec = read_space()
        self.epochs = max(len(curve.curve) for curve in curves)
        self._points = Points(self.spec.space)
        self._whole = [curve for curve in curves if len(curve.curve) == self.epochs]
        self._units = np.array([self._points.unit(curve.knobs) for curve in self._whole])
        self._values = np.array([curve.curve for curve in self._whole])
        self._truth: _Smooth | _Nearest = (_Nearest if nearest else _Smooth)(self._units, self._values)
        self._deviations = _deviations(self._whole)

    @property
    def recorded(self) -> NDArray[np.float64]:
        """The curves as they were recorded. Shape: [trainings, epochs]."""
        return self._values

    def truth(self, knobs: Mapping[str, Any]) -> NDArray[np.float64]:
        """Validation F1 after each epoch, without noise. Shape: [epochs]."""
        return self._truth.at(self._points.unit(knobs)[None]).ravel()

    def training(self, knobs: Mapping[str, Any], rng: np.random.Generator) -> NDArray[np.float64]:
        """The same with the noise of one seed. Shape: [epochs]."""
        curve: NDArray[np.float64] = self.truth(knobs) + self._deviations[rng.integers(len(self._deviations))]
        return curve.clip(0, 1)

    def best(self) -> float:
        """The best last epoch of many points, which a search may surpass by a little."""
        scan = qmc.Sobol(self._units.shape[1], seed=0).random_base2(SCAN)
        unit = np.array(
            [self._points.unit(self._points.knobs(point)) for point in scan]
        )  # as steps and whole numbers allow
        return float(self._truth.at(unit)[:, -1].max())

    def fit(self) -> Fit:
        """Cross-validated: no point is foretold from its own seeds."""
        names = np.array([curve.point for curve in self._whole])
        foretold = np.zeros(len(names))
        for _, held_out in KFold(FOLDS, shuffle=True, random_state=0).split(np.unique(names)):
            out = np.isin(names, np.unique(names)[held_out])
            foretold[out] = self._truth.refitted(self._units[~out], self._values[~out]).at(self._units[out])[:, -1]
        last = self._values[:, -1]
        good = last >= np.median(last)
        return Fit(
            error=float(np.sqrt(np.mean((foretold - last)[good] ** 2))),
            rank_correlation=float(spearmanr(foretold[good], last[good]).statistic),
            seed_deviation=float(np.sqrt(np.mean(self._deviations[:, -1] ** 2))),
        )


class _Smooth:
    def __init__(self, unit: NDArray[np.float64], values: NDArray[np.float64], *, kernel: Any = None) -> None:
        """With a `kernel` that was fitted before, it stays as it is."""
        new = ConstantKernel() * Matern(np.ones(unit.shape[1]), nu=2.5) + WhiteKernel()
        model = GaussianProcessRegressor(kernel or new, normalize_y=True, optimizer=None if kernel else "fmin_l_bfgs_b")
        self._model = model.fit(unit, _stretched(values))

    def refitted(self, unit: NDArray[np.float64], values: NDArray[np.float64]) -> "_Smooth":
        return _Smooth(unit, values, kernel=self._model.kernel_)

    def at(self, unit: NDArray[np.float64]) -> NDArray[np.float64]:
        return _shrunk(self._model.predict(unit))


class _Nearest:
    def __init__(self, unit: NDArray[np.float64], values: NDArray[np.float64]) -> None:
        points, where = np.unique(unit, axis=0, return_inverse=True)
        means = [values[where == point].mean(axis=0) for point in range(len(points))]
        self._model = KNeighborsRegressor(1).fit(points, means)

    def refitted(self, unit: NDArray[np.float64], values: NDArray[np.float64]) -> "_Nearest":
        return _Nearest(unit, values)

    def at(self, unit: NDArray[np.float64]) -> NDArray[np.float64]:
        curves: NDArray[np.float64] = self._model.predict(unit)
        return curves


def _stretched(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.log((values - FLOOR) / (CEILING - values))


def _shrunk(values: NDArray[np.float64]) -> NDArray[np.float64]:
    shrunk: NDArray[np.float64] = FLOOR + (CEILING - FLOOR) / (1 + np.exp(-values))
    return shrunk


def _deviations(curves: Sequence[Curve]) -> NDArray[np.float64]:
    """Of each training from the mean of its seeds, as large as from the mean of infinitely many. Shape: [trainings,
    epochs].
    """
    of_point: dict[int, list[tuple[float, ...]]] = defaultdict(list)
    for curve in curves:
        of_point[curve.point].append(curve.curve)
    groups = [np.array(group) for group in of_point.values() if len(group) > 1]
    return np.concatenate([(group - group.mean(axis=0)) * np.sqrt(len(group) / (len(group) - 1)) for group in groups])
