"""The model foretells the last epoch of trainings that it saw only the beginning of, or nothing of."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import multivariate_normal

from search.samplers.learning_curves import MEAN, MEAN_SD, CurveModel, Trainings, unwarp, warp

EPOCHS = 8
KNOBS = np.array([0, 1])


def curves(
    points: NDArray[np.float64], rng: np.random.Generator, *, noise: float = 0.003, gain: float = 0.2
) -> NDArray[np.float64]:
    """F1 of 0.94 at the middle of the first knob, less elsewhere; the second knob does not matter."""
    last = 0.94 - 0.3 * (points[:, 0] - 0.5) ** 2
    epochs = np.arange(1, EPOCHS + 1)
    return np.asarray(last[:, None] - gain * (1 / epochs - 1 / EPOCHS) + rng.normal(0, noise, (len(points), EPOCHS)))


def cut(f1: NDArray[np.float64], lengths: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.where(np.arange(EPOCHS) < lengths[:, None], f1, np.nan)


def fitted(trainings: Trainings) -> CurveModel:
    model = CurveModel(KNOBS)
    model.fit(trainings, np.random.default_rng(0))
    return model


@given(st.floats(0, 0.9999))
def test_warping_can_be_undone(f1: float) -> None:
    assert unwarp(warp(np.array(f1))) == pytest.approx(f1, abs=1e-9)


def test_trainings_that_were_paused_early_foretell_new_ones() -> None:
    rng = np.random.default_rng(1)
    points, new = rng.random((30, 2)), rng.random((200, 2))
    lengths = np.where(np.arange(30) < 6, EPOCHS, rng.integers(1, 4, 30))
    trainings = Trainings(points, cut(curves(points, rng), lengths))
    model = fitted(trainings)
    found, truth = model.condition(trainings).at(new), curves(new, rng, noise=0.0)[:, -1]
    assert np.sqrt(np.mean((unwarp(found.mean) - truth) ** 2)) < 0.01
    assert np.mean(np.abs(warp(truth) - found.mean) < 2.5 * found.sd) > 0.9


def test_a_training_is_foretold_better_the_longer_it_trains() -> None:
    rng = np.random.default_rng(2)
    points = rng.random((25, 2))
    f1 = curves(points, rng)
    deviations = []
    for length in (1, 3, EPOCHS):
        lengths = np.where(np.arange(25) < 24, EPOCHS, length)
        trainings = Trainings(points, cut(f1, lengths))
        deviations.append(fitted(trainings).condition(trainings).of_trainings().sd[-1])
    assert deviations[0] > deviations[1] > deviations[2]


def test_a_knob_that_does_not_matter_has_the_longer_length() -> None:
    rng = np.random.default_rng(3)
    points = rng.random((40, 2))
    model = fitted(Trainings(points, curves(points, rng)))
    first, second = model._log_parameters[-2:]
    assert second > first + 0.3


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_the_factored_likelihood_and_prediction_are_those_of_the_whole_process(seed: int) -> None:
    """The 3n x 3n algebra against a plain normal distribution over all epochs."""
    rng = np.random.default_rng(seed)
    points, lengths = rng.random((5, 2)), rng.integers(1, EPOCHS + 1, 5)
    trainings = Trainings(points, cut(curves(points, rng, gain=0.1), lengths))
    model = CurveModel(KNOBS)
    values = np.exp(model._log_parameters)
    amplitude, spread, (end, before, power), scale = values[:3], values[3:6], values[6:9], values[9:]
    epochs = np.arange(1, EPOCHS + 1)
    share = epochs / EPOCHS
    basis = np.stack((np.ones(EPOCHS), 1 - share, epochs**-power - EPOCHS**-power), axis=1)

    def kernel(left: NDArray[np.float64], right: NDArray[np.float64]) -> NDArray[np.float64]:
        r = np.sqrt(5 * (((left[:, None] - right[None]) / scale) ** 2).sum(axis=2))
        return np.asarray((1 + r + r**2 / 3) * np.exp(-r))

    where = [(row, epoch) for row in range(5) for epoch in range(lengths[row])]
    same = kernel(points, points)
    covariance = np.array(
        [
            [
                sum(
                    basis[s, k]
                    * basis[t, k]
                    * (amplitude[k] ** 2 * same[i, j] + float(MEAN_SD[k]) ** 2 + (i == j) * spread[k] ** 2)
                    for k in range(3)
                )
                + ((i, s) == (j, t)) * (end**2 + before**2 * (1 - share[s]))
                for j, t in where
            ]
            for i, s in where
        ]
    )
    y = warp(trainings.f1)
    observed, mean = np.array([y[at] for at in where]), np.array([basis[epoch] @ MEAN.numpy() for _, epoch in where])
    posterior = model.condition(trainings)
    expected = multivariate_normal(mean, covariance).logpdf(observed) + 0.5 * len(where) * np.log(2 * np.pi)
    assert float(posterior._state.log_likelihood) == pytest.approx(expected, abs=1e-3)
    new = rng.random((3, 2))
    across = np.array(
        [[amplitude[0] ** 2 * value + float(MEAN_SD[0]) ** 2 for value in row] for row in kernel(new, points)]
    )[:, [row for row, _ in where]]
    found = posterior.at(new)
    assert found.mean == pytest.approx(float(MEAN[0]) + across @ np.linalg.solve(covariance, observed - mean), abs=1e-4)
    variance = amplitude[0] ** 2 + float(MEAN_SD[0]) ** 2
    explained = (across * np.linalg.solve(covariance, across.T).T).sum(axis=1)
    assert found.sd**2 == pytest.approx(variance - explained, abs=1e-4)


def test_epochs_that_are_far_below_count_as_bad_and_no_worse() -> None:
    rng = np.random.default_rng(4)
    points = rng.random((20, 2))
    f1 = curves(points, rng)
    f1[3] = 0.02  # collapsed
    f1[5, 2] = 0.4  # a dip
    trainings = Trainings(points, f1)
    found = fitted(trainings).condition(trainings).of_trainings()
    good = np.delete(np.arange(20), 3)
    assert np.abs(unwarp(found.mean)[good] - f1[good, -1]).max() < 0.02
    assert unwarp(found.mean)[3] < f1[good, -1].min()
