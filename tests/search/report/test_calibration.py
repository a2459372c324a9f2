import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.report.calibration import BINS, calibration


def measured(*pairs: tuple[float, bool]) -> float:
    return calibration(np.array([sure for sure, _ in pairs]), np.array([right for _, right in pairs])).error


def test_a_hand_computed_example() -> None:
    # (0.6, 0.667]: two images, mean probability 0.63, one right: |0.5 - 0.63| = 0.13. (0.933, 1]: two, 0.96, both
    # right: 0.04.
    error = measured((0.62, True), (0.64, False), (0.95, True), (0.97, True))
    assert error == pytest.approx(2 / 4 * 0.13 + 2 / 4 * 0.04)


def test_each_image_is_in_one_bin_which_includes_its_upper_edge() -> None:
    diagram = calibration(np.arange(1, BINS + 1) / BINS, np.ones(BINS, bool))
    assert [interval.images for interval in diagram.bins] == [1] * BINS
    edges = [interval.high for interval in diagram.bins]
    assert [interval.confidence for interval in diagram.bins] == pytest.approx(edges)
    assert (diagram.bins[0].low, diagram.bins[-1].high) == (0, 1)


def test_an_empty_bin_has_no_figures() -> None:
    diagram = calibration(np.array([0.99]), np.array([True]))
    assert (diagram.bins[0].images, diagram.bins[0].confidence, diagram.bins[0].accuracy) == (0, None, None)


@given(
    st.lists(
        st.integers(1, 20).flatmap(lambda images: st.tuples(st.integers(1, images), st.just(images))),
        min_size=1,
        max_size=15,
    )
)
def test_the_error_is_0_if_probability_and_accuracy_agree(groups: list[tuple[int, int]]) -> None:
    pairs = [(right / images, i < right) for right, images in groups for i in range(images)]
    assert measured(*pairs) == pytest.approx(0, abs=1e-12)


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=50))
def test_the_error_is_a_share(pairs: list[tuple[float, bool]]) -> None:
    assert 0 <= measured(*pairs) <= 1
    diagram = calibration(np.array([sure for sure, _ in pairs]), np.array([right for _, right in pairs]))
    assert sum(interval.images for interval in diagram.bins) == diagram.images == len(pairs)
