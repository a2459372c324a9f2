import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fmnist.timing import MOST, median_ms, steady


@pytest.mark.parametrize(
    ("taken", "expected", "used"),
    [
        ([0.61, 0.60], (0.60, True), 2),
        ([644.0, 0.61, 0.60], (0.60, True), 3),  # as a loaded machine gave once
        ([0.60, 644.0, 0.61, 0.70], (0.61, True), 4),
        ([1.0, 2.0, 4.0, 8.0, 16.0, 32.0], (1.0, False), 6),
    ],
)
def test_a_measurement_is_repeated_until_two_in_a_row_agree(
    taken: list[float], expected: tuple[float, bool], used: int
) -> None:
    calls = itertools.count()
    assert steady(lambda: taken[next(calls)]) == expected
    assert next(calls) == used


@given(st.lists(st.floats(0.01, 1000), min_size=MOST, max_size=MOST))
def test_what_is_told_was_measured(taken: list[float]) -> None:
    values = iter(taken)
    told, is_steady = steady(lambda: next(values))
    assert told in taken
    assert is_steady or told == min(taken)


def test_a_median_is_of_at_least_five_passes_however_long_they_take() -> None:
    runs: list[None] = []
    assert median_ms(lambda: runs.append(None), passes=100, seconds=0.0) >= 0
    assert len(runs) == 6
