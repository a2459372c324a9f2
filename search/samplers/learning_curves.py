"""A Gaussian process over knobs and epochs, which predicts where a training ends.

The F1 of an epoch is warped to y = -log(1 - F1), in which a step from 0.90 to 0.91 counts like one from 0.990 to 0.991.
With s = t / T, the share of the epochs that were trained,

    y(x, t) = a(x) + b(x) (1 - s) + c(x) (t^-p - T^-p) + noise(t)

a is the last value, b what the schedule still gives, c the power law of learning. Each is a Gaussian process over the
knobs x, with a kernel that all three share (Matern 5/2, a length for each knob) and an amplitude of its own, plus a
deviation of its own for each training: the luck of its seed. Because y is linear in three numbers for each training, n
trainings cost the factorization of a 3n x 3n matrix, whatever their epochs.

After freeze-thaw Bayesian optimization (Swersky, Snoek, Adams 2014, arXiv 1406.3896), which has an exponential decay in
place of b and c.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize

Points = NDArray[np.float64]
LOWEST = 1.5  # below the best value in y: all that is worse counts as bad as this
DIP = 0.5  # below an earlier epoch in y: a deeper dip counts as this
MEAN = torch.tensor([2.3, -0.8, -0.8], dtype=torch.float64)  # of a, b and c before anything is known
MEAN_SD = torch.tensor([2.0, 1.0, 1.0], dtype=torch.float64)
WEIGHT, WEIGHT_SD = 0.7, 0.4  # of what an earlier search predicts, before anything is known
REFIT = 1.15  # the parameters should be fitted again when there are so many times more epochs
FITTED = 100  # most trainings that the parameters are fitted to
STEPS = 30  # of a fit
JITTER = 1e-6

# Parameter -> mean and standard deviation of its logarithm.
PRIOR: Final[dict[str, tuple[float, float]]] = {
    "amplitude a": (-1.2, 0.7),
    "amplitude b": (-1.6, 0.7),
    "amplitude c": (-1.6, 0.7),
    "seed a": (-3.2, 0.5),
    "seed b": (-2.6, 0.5),
    "seed c": (-2.6, 0.5),
    "noise at the end": (-3.5, 0.5),
    "noise before": (-2.2, 0.7),
    "power": (-0.4, 0.3),
}
LENGTH_SD = 0.8


@dataclass(frozen=True, eq=False)
class Trainings:
    """Trainings at points, with the F1 of each epoch, NaN where it was not trained.

    Shape: points [n, dimensions], f1 [n, epochs].
    """

    points: Points
    f1: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.points)

    def take(self, rows: Sequence[int] | NDArray[np.int64]) -> "Trainings":
        """Return the trainings of these rows."""
        return Trainings(self.points[rows], self.f1[rows])


@dataclass(frozen=True, eq=False)
class Prediction:
    """Normal distributions of y after the last epoch. Shape: each [n]."""

    mean: NDArray[np.float64]
    sd: NDArray[np.float64]


def warp(f1: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return y of F1."""
    return np.asarray(-np.log1p(-np.clip(f1, 0, 0.9999)))


def unwarp(y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the F1 of y."""
    return np.asarray(-np.expm1(-y))


class CurveModel:
    """The process, with its parameters at the maximum of their posterior. It needs at least one training."""

    def __init__(self, knob_of: NDArray[np.int64], *, guesses: int = 0) -> None:
        """Start with the parameters that are likely before anything is known.

        Args:
            knob_of: The knob of each dimension, which share a length.
            guesses: Further dimensions of a point: what earlier searches predict there. a has an unknown multiple of
                each, 0 where an earlier search tells nothing.
        """
        self._guesses = guesses
        self._knob_of = torch.from_numpy(np.asarray(knob_of, dtype=np.int64))
        # A choice between options moves two dimensions by 1 each.
        widths = np.bincount(knob_of)
        self._scale = torch.from_numpy(1.0 / np.where(widths > 1, 2.0, 1.0)[knob_of])
        knobs = len(widths)
        length = np.log(0.5) + 0.5 * np.log(max(knobs, 1))
        self._prior = torch.tensor([*PRIOR.values(), *[(length, LENGTH_SD)] * knobs], dtype=torch.float64)
        self._log_parameters = self._prior[:, 0].numpy().copy()

    def fit(self, trainings: Trainings, rng: np.random.Generator) -> None:
        """Fit the parameters, starting from those of the last fit."""
        if len(trainings) > FITTED:
            trainings = trainings.take(rng.choice(len(trainings), FITTED, replace=False))
        data = _Data.of(trainings)
        mean, sd = self._prior.T

        def loss(values: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
            parameters = torch.tensor(values, requires_grad=True)
            lost = -self._state(data, parameters).log_likelihood + 0.5 * ((parameters - mean) / sd).square().sum()
            lost.backward()  # type: ignore[no-untyped-call]
            assert parameters.grad is not None
            return lost.item(), parameters.grad.numpy()

        bounds = [(float(m - 4 * s), float(m + 4 * s)) for m, s in self._prior]
        options = {"maxiter": STEPS}
        found = minimize(loss, self._log_parameters, jac=True, method="L-BFGS-B", bounds=bounds, options=options)
        self._log_parameters = found.x

    @property
    def seed_deviation(self) -> float:
        """The standard deviation of the last y between seeds of a configuration."""
        return float(np.exp(self._log_parameters[list(PRIOR).index("seed a")]))

    def condition(self, trainings: Trainings) -> "Posterior":
        """Return what these trainings tell, with the parameters of the last fit."""
        with torch.no_grad():
            data = _Data.of(trainings)
            return Posterior(data, self._state(data, torch.from_numpy(self._log_parameters)), self)

    def _state(self, data: "_Data", log_parameters: torch.Tensor) -> "_State":
        values = log_parameters.exp()
        amplitude, seed, (end, before, power), lengths = values[:3], values[3:6], values[6:9], values[9:]
        epochs = torch.arange(1, data.y.shape[1] + 1, dtype=torch.float64)
        share = epochs / len(epochs)
        basis = torch.stack((torch.ones_like(share), 1 - share, epochs**-power - len(epochs) ** -power), dim=1)
        variance = end.square() + before.square() * (1 - share)
        precision = data.is_there / variance  # [n, epochs]
        guesses = self._guesses_at(data.points)
        guessed = guesses.sum(dim=1, keepdim=True) * WEIGHT
        residual = torch.where(data.is_there, data.y - basis @ MEAN - guessed, 0.0)
        gram = torch.einsum("nt,tk,tl->nkl", precision, basis, basis) + JITTER * torch.eye(3, dtype=torch.float64)
        root = torch.linalg.cholesky(gram)  # [n, 3, 3]
        projected = torch.einsum("nt,tk->nk", precision * residual, basis)
        z = torch.linalg.solve_triangular(root, projected[..., None], upper=False)[..., 0]  # [n, 3]
        kernel = self.kernel(data.points, data.points, lengths)
        eye = torch.eye(len(data.points), dtype=torch.float64)
        prior = (
            amplitude.square()[:, None, None] * kernel
            + seed.square()[:, None, None] * eye
            + MEAN_SD.square()[:, None, None]
        )  # [3, n, n]
        prior = torch.cat(((prior[0] + WEIGHT_SD**2 * guesses @ guesses.T)[None], prior[1:]))
        size = 3 * len(data.points)
        mixed = torch.einsum("ika,kij,jkb->iajb", root, prior, root).reshape(size, size)
        factor = torch.linalg.cholesky(mixed + torch.eye(size, dtype=torch.float64))
        solved = torch.cholesky_solve(z.reshape(-1, 1), factor)[:, 0]
        fitted = (precision * residual.square()).sum() - z.square().sum() + z.reshape(-1) @ solved
        spread = (data.is_there * variance.log()).sum() + 2 * factor.diagonal().log().sum()
        weights = torch.einsum("ika,ia->ik", root, solved.reshape(-1, 3))
        return _State(-0.5 * (fitted + spread), weights, root, factor, amplitude, seed, lengths)

    def _guesses_at(self, points: torch.Tensor) -> torch.Tensor:
        return points[:, points.shape[1] - self._guesses :]

    def kernel(self, left: torch.Tensor, right: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Return the Matern kernel between points. Shape: [left, right]."""
        scale = self._scale.sqrt() / lengths[self._knob_of]
        left, right = left[:, : len(scale)] * scale, right[:, : len(scale)] * scale
        distance = (left[:, None] - right[None]).square().sum(dim=2)
        r = (5 * distance + 1e-12).sqrt()
        return (1 + r + r.square() / 3) * torch.exp(-r)


@dataclass(frozen=True, eq=False)
class _Data:
    points: torch.Tensor
    y: torch.Tensor  # 0 where it was not trained
    is_there: torch.Tensor

    @classmethod
    def of(cls, trainings: Trainings) -> "_Data":
        is_there = np.isfinite(trainings.f1)
        y = warp(np.where(is_there, trainings.f1, 0.0))
        y = np.maximum(y, y.max(initial=0.0) - LOWEST)
        y = np.where(is_there, np.maximum(y, np.maximum.accumulate(np.where(is_there, y, -np.inf), axis=1) - DIP), 0.0)
        return cls(torch.from_numpy(trainings.points), torch.from_numpy(y), torch.from_numpy(is_there))


@dataclass(frozen=True, eq=False)
class _State:
    log_likelihood: torch.Tensor  # without its constant
    weights: torch.Tensor  # [n, 3]
    root: torch.Tensor
    factor: torch.Tensor
    amplitude: torch.Tensor
    seed: torch.Tensor
    lengths: torch.Tensor


class Posterior:
    """What trainings tell of the last epoch, there and elsewhere."""

    def __init__(self, data: _Data, state: _State, model: CurveModel) -> None:
        self._data, self._state, self._model = data, state, model

    def at(self, points: Points) -> Prediction:
        """Predict a training at each point, without the luck of its seed."""
        with torch.no_grad():
            there = torch.from_numpy(points)
            return self._predict(there, self._covariance(there), 0.0)

    def mean_at(self, points: Points) -> NDArray[np.float64]:
        """Return the mean of `at`, which takes a small part of its time. Shape: [points]."""
        with torch.no_grad():
            there = torch.from_numpy(points)
            return np.asarray(self._mean(there, self._covariance(there)).numpy())

    def of_trainings(self) -> Prediction:
        """Predict each of the trainings itself, with the luck of its seed."""
        with torch.no_grad():
            variance = self._state.seed[0].square()
            covariance = self._covariance(self._data.points)
            covariance = covariance + variance * torch.eye(len(covariance), dtype=torch.float64)
            return self._predict(self._data.points, covariance, variance)

    def nearness(self, left: Points, right: Points) -> NDArray[np.float64]:
        """Return the kernel between points. Shape: [left, right]."""
        kernel = self._model.kernel(torch.from_numpy(left), torch.from_numpy(right), self._state.lengths)
        return np.asarray(kernel.detach().numpy())

    def _covariance(self, points: torch.Tensor) -> torch.Tensor:
        kernel = self._model.kernel(points, self._data.points, self._state.lengths)
        guesses, known = self._model._guesses_at(points), self._model._guesses_at(self._data.points)
        return self._state.amplitude[0].square() * kernel + MEAN_SD[0].square() + WEIGHT_SD**2 * guesses @ known.T

    def _mean(self, points: torch.Tensor, covariance: torch.Tensor) -> torch.Tensor:
        return MEAN[0] + WEIGHT * self._model._guesses_at(points).sum(dim=1) + covariance @ self._state.weights[:, 0]

    def _predict(self, points: torch.Tensor, covariance: torch.Tensor, extra: torch.Tensor | float) -> Prediction:
        state, guesses = self._state, self._model._guesses_at(points)
        mean = self._mean(points, covariance)
        mixed = (state.root[:, 0, :][None] * covariance[..., None]).flatten(1)
        explained = torch.linalg.solve_triangular(state.factor, mixed.T, upper=False).square().sum(dim=0)
        variance = state.amplitude[0].square() + MEAN_SD[0].square() + extra - explained
        variance = variance + WEIGHT_SD**2 * guesses.square().sum(dim=1)
        return Prediction(mean.numpy(), variance.clamp_min(1e-10).sqrt().numpy())
