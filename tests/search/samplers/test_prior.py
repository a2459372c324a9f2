"""What earlier searches found is a guess of a new one, and a wrong guess is forgotten."""

from typing import Any

import numpy as np
import pytest
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from search.samplers.cube import Cube
from search.samplers.freeze_thaw import FreezeThaw
from search.samplers.prior import Prior, Translation
from tests.search.samplers.test_freeze_thaw import EPOCHS, SPACE, curve, height, searched

EARLIER: dict[str, BaseDistribution] = {
    "rate": FloatDistribution(1e-3, 1.0, log=True),
    "drop": FloatDistribution(0.0, 0.5),
    "pool": CategoricalDistribution(("after", "before", "stride")),
    "filters": IntDistribution(8, 64),
}


def earlier(*, shuffled: bool = False, count: int = 40) -> Prior:
    """Of a like search in which `filters` was searched too, and did not matter."""
    rng = np.random.default_rng(1)
    cube = Cube(EARLIER)
    found = [cube.knobs(point) for point in cube.random(count, rng)]
    f1 = np.array([curve(knobs, number) for number, knobs in enumerate(found)])
    prior = Prior(SPACE, {"filters": 16})
    prior.add(EARLIER, found, rng.permutation(f1) if shuffled else f1, rng)
    return prior


def decisions(prior: Prior | None, seed: int = 0) -> FreezeThaw:
    return FreezeThaw(Cube(SPACE), EPOCHS, seed=seed, prior=prior)


def test_points_are_translated_by_their_values() -> None:
    cube, other = Cube(SPACE), Cube(EARLIER)
    translate = Translation(cube, {"filters": 100}, other)
    knobs: dict[str, Any] = {"rate": 0.01, "drop": 0.25, "pool": "before"}
    found = other.knobs(translate(cube.points([knobs]))[0])
    assert found == {"rate": pytest.approx(0.01), "drop": pytest.approx(0.25), "pool": "before", "filters": 64}
    outside = other.knobs(translate(cube.points([knobs | {"rate": 1e-4, "drop": 0.9}]))[0])
    assert (outside["rate"], outside["drop"]) == (pytest.approx(1e-3), pytest.approx(0.5))


def test_options_are_translated_by_name_and_numbers_to_the_nearest() -> None:
    cube = Cube({"filters": IntDistribution(8, 64), "size": CategoricalDistribution((16, 64)), "norm": FLAGS})
    other = Cube({"filters": CategoricalDistribution((16, 32)), "size": IntDistribution(0, 64), "norm": FLAGS})
    (point,) = Translation(cube, {}, other)(cube.points([{"filters": 30, "size": 16, "norm": True}]))
    assert other.knobs(point) == {"filters": 32, "size": 16, "norm": True}
    lost = Translation(Cube({"pool": CategoricalDistribution(("x", "y"))}), {}, Cube({"pool": SPACE["pool"]}))
    assert lost(np.array([[1.0, 0.0]])).tolist() == [[0.0, 0.0]]


FLAGS = CategoricalDistribution((True, False))


def test_a_search_begins_where_an_earlier_one_was_good() -> None:
    firsts = [decisions(earlier(), seed).next_step([], new=10) for seed in range(3)]
    heights = [height(getattr(step, "knobs", {})) for step in firsts]
    assert min(heights) > 0.93
    assert decisions(Prior(SPACE, {})).next_step([], new=10) == decisions(None).next_step([], new=10)


def test_a_good_guess_helps_and_a_shuffled_one_is_forgotten() -> None:
    best = {}
    for name, prior in {"none": None, "good": earlier(), "shuffled": earlier(shuffled=True)}.items():
        ends = [searched(decisions(prior, seed), 8 * EPOCHS) for seed in range(4)]
        best[name] = [max(height(trial.knobs) for trial in seen if trial.state == "complete") for seen in ends]
    assert np.mean(best["good"]) >= np.mean(best["none"]) - 0.001
    assert np.mean(best["shuffled"]) > np.mean(best["none"]) - 0.01
