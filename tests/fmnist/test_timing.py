import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fmnist.timing import MOST, median_ms, steady


@pytest.mark.parametrize(
    ("values", "expected", "count"),
    [
        ([0.61, 0.60], (0.60, True), 2),
        ([644.0, 0.61, 0.60], (0.60, True), 3),  # measured once on a loaded machine
        ([0.60, 644.0, 0.61, 0.70], (0.61, True), 4),
        ([1.0, 2.0, 4.0, 8.0, 16.0, 32.0], (1.0, False), 6),
    ],
)
def test_measuring_is_repeated_until_two_consecutive_values_agree(
    values: list[float], expected: tuple[float, bool], count: int
) -> None:
    calls = itertools.count()
    assert steady(lambda: values[next(calls)]) == expected
    assert next(calls) == count


@given(st.lists(st.floats(0.01, 1000), min_size=MOST, max_size=MOST))
def test_the_result_is_one_of_the_measurements(values: list[float]) -> None:
    measurements = iter(values)
    result, is_steady = steady(lambda: next(measurements))
    assert result in values
    assert is_steady or result == min(values)


def test_a_median_has_at_least_five_passes() -> None:
    runs: list[None] = []
    assert median_ms(lambda: runs.append(None), passes=100, seconds=0.0) >= 0
    assert len(runs) == 6
