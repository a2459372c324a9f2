"""Optuna's own tests of a sampler pass on those of ours that differ from its own; but for several objectives, for a
study has one.
"""

from collections.abc import Callable

import pytest
from optuna.samplers import BaseSampler
from optuna.testing.pytest_samplers import BasicSamplerTestCase, RelativeSamplerTestCase

from search.samplers.gp import GPSampler
from search.samplers.tpe import TPESampler
from tests.search.tiny import tiny_spec


class TestTPE(BasicSamplerTestCase, RelativeSamplerTestCase):
    @pytest.fixture
    def sampler(self) -> Callable[[], BaseSampler]:
        return lambda: TPESampler(seed=0, n_startup_trials=1)


@pytest.mark.slow
class TestGP(BasicSamplerTestCase, RelativeSamplerTestCase):
    @pytest.fixture
    def sampler(self) -> Callable[[], BaseSampler]:
        return lambda: GPSampler(seed=0, n_startup_trials=1)


class TestCMAES(BasicSamplerTestCase, RelativeSamplerTestCase):
    @pytest.fixture
    def sampler(self) -> Callable[[], BaseSampler]:
        return lambda: tiny_spec(sampler="cmaes").make_sampler(seed=0)
