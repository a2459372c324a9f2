"""Points of the cube are configurations, and configurations are points of it."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from search.samplers.cube import Cube

SPACE: dict[str, BaseDistribution] = {
    "filters": IntDistribution(8, 64, step=8),
    "width": IntDistribution(4, 200, log=True),
    "rate": FloatDistribution(1e-4, 0.1, log=True),
    "dropout": FloatDistribution(0.0, 0.5, step=0.1),
    "pool": CategoricalDistribution(("before", "after", "stride")),
    "norm": CategoricalDistribution((True, False)),
}
CUBE = Cube(SPACE)


@given(st.integers(0, 1000))
def test_a_random_point_is_the_configuration_that_it_names(seed: int) -> None:
    for point in CUBE.random(5, np.random.default_rng(seed)):
        knobs = CUBE.knobs(point)
        assert all(SPACE[name]._contains(SPACE[name].to_internal_repr(value)) for name, value in knobs.items())
        assert np.allclose(CUBE.points([knobs])[0], point, atol=1e-9)


def test_random_points_try_every_value() -> None:
    found = [CUBE.knobs(point) for point in CUBE.random(500, np.random.default_rng(0))]
    assert {knobs["filters"] for knobs in found} == set(range(8, 65, 8))
    assert {knobs["pool"] for knobs in found} == {"before", "after", "stride"}
    assert {knobs["norm"] for knobs in found} == {True, False}
    assert len({round(knobs["dropout"], 6) for knobs in found}) == 6


@given(st.integers(0, 1000), st.floats(0.01, 0.3))
def test_a_near_point_is_a_configuration_that_shares_values(seed: int, width: float) -> None:
    rng = np.random.default_rng(seed)
    point = CUBE.random(1, rng)[0]
    near = CUBE.near(point, 50, width, rng)
    own, others = CUBE.knobs(point), [CUBE.knobs(other) for other in near]
    assert np.allclose(CUBE.points(others), near, atol=1e-9)
    shared = [sum(other[name] == own[name] for name in own) for other in others]
    assert max(shared) >= 3
    assert len({tuple(other.values()) for other in others}) > 5


def test_dimensions_belong_to_knobs() -> None:
    assert CUBE.knob_of.tolist() == [0, 1, 2, 3, 4, 4, 4, 5, 5]
