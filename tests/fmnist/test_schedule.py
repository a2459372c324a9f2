import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fmnist.config import TrialConfig
from fmnist.schedule import COOL_DOWN, WARM_UP, learning_rate_scale, learning_rates


def test_learning_rates_are_scaled_by_their_peak() -> None:
    config = TrialConfig(schedule="cosine", learning_rate=0.5)
    assert learning_rates(config, [0, 5], 10) == pytest.approx([0.5, 0.25])


def test_the_constant_schedule_is_constant() -> None:
    assert {learning_rate_scale(TrialConfig(schedule="constant"), step, 50) for step in range(51)} == {1.0}


@given(st.integers(2, 2000))
@settings(max_examples=50, deadline=None)
def test_the_cosine_falls_from_one_to_near_zero(steps: int) -> None:
    scales = [learning_rate_scale(TrialConfig(schedule="cosine"), step, steps) for step in range(steps)]
    assert scales[0] == 1.0
    assert scales == sorted(scales, reverse=True)
    assert 0 < scales[-1] <= (math.pi / 2 / steps) ** 2 + 1e-12
    assert learning_rate_scale(TrialConfig(schedule="cosine"), steps // 2 * 2 // 2, steps // 2 * 2) == pytest.approx(
        0.5
    )


@given(st.integers(2, 2000))
@settings(max_examples=50, deadline=None)
def test_the_triangle_rises_to_its_peak_and_falls_to_near_zero(steps: int) -> None:
    scales = [learning_rate_scale(TrialConfig(schedule="triangle"), step, steps) for step in range(steps)]
    assert all(0 < scale <= 1 for scale in scales)
    top = scales.index(max(scales))
    assert scales[:top] == sorted(scales[:top])
    assert scales[top:] == sorted(scales[top:], reverse=True)
    assert top <= math.ceil(WARM_UP * steps)
    assert scales[0] == 0.1
    assert scales[-1] <= max(0.001, 1.3 / steps)


def test_a_triangle_with_many_steps_peaks_after_the_warm_up() -> None:
    scales = [learning_rate_scale(TrialConfig(schedule="triangle"), step, 1000) for step in range(1001)]
    assert scales[200] == 1.0
    assert scales[100] == pytest.approx(0.5)
    assert scales[600] == pytest.approx(0.5)
    assert scales[1000] == 0.001


@given(st.integers(10, 2000))
@settings(max_examples=50, deadline=None)
def test_the_trapezoid_rises_stays_and_falls_to_near_zero(steps: int) -> None:
    scales = [learning_rate_scale(TrialConfig(schedule="trapezoid"), step, steps) for step in range(steps)]
    rising, falling = math.ceil(WARM_UP * steps), math.floor((1 - COOL_DOWN) * steps)
    assert scales[0] == 0.1
    assert scales[: rising + 1] == sorted(scales[: rising + 1])
    assert set(scales[rising:falling]) == {1.0}
    assert scales[falling:] == sorted(scales[falling:], reverse=True)
    assert 0 < scales[-1] <= max(0.001, 2.6 / steps)
