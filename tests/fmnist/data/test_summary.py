import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fmnist.data import synthetic
from fmnist.data.images import SIDE, Images
from fmnist.data.summary import BLOCK, DataSummary, summarise

NAMES = ("shirt", "Schürze", "empty")


def images(labels: list[int], greys: list[int]) -> Images:
    pixels = np.broadcast_to(np.array(greys, np.uint8)[:, None, None], (len(greys), SIDE, SIDE))
    return Images(pixels, np.array(labels, np.int64), NAMES)


def test_classes_are_counted_in_both_splits() -> None:
    summary = summarise(images([0, 0, 1, 0], [0, 255, 40, 45]), images([1, 1], [7, 9]))
    shirt, apron, empty = summary.classes
    assert (summary.train, summary.test) == (4, 2)
    assert (shirt.name, shirt.train, shirt.test, shirt.share, shirt.brightness) == ("shirt", 3, 0, 0.75, 100.0)
    assert (apron.name, apron.train, apron.test, apron.share, apron.brightness) == ("Schürze", 1, 2, 0.25, 40.0)
    assert (empty.train, empty.test, empty.share, empty.brightness) == (0, 0, 0.0, None)


def test_pixel_statistics_are_those_of_train() -> None:
    pixels = summarise(images([0, 0, 1, 0], [0, 255, 40, 45]), images([0], [99])).pixels
    assert pixels is not None
    assert (pixels.mean, pixels.low, pixels.high, pixels.black, pixels.white) == (85.0, 0, 255, 0.25, 0.25)


def test_an_empty_data_set_has_no_statistics_and_no_error() -> None:
    summary = summarise(images([], []), images([], []))
    assert summary.pixels is None
    assert [(row.train, row.share, row.brightness) for row in summary.classes] == [(0, 0.0, None)] * 3


def test_a_summary_survives_json() -> None:
    summary = summarise(synthetic.train(), synthetic.test())
    assert DataSummary.model_validate_json(summary.model_dump_json()) == summary
    assert [row.train for row in summary.classes] == [600] * 10
    assert [row.test for row in summary.classes] == [100] * 10


@given(
    arrays(np.uint8, st.tuples(st.integers(1, 5), st.just(SIDE), st.just(SIDE)), fill=st.integers(0, 255)),
    st.integers(0, 2),
)
@settings(max_examples=30, deadline=None)
def test_statistics_equal_numpy_s(few: np.ndarray, label: int) -> None:
    pixels = np.resize(few, (BLOCK + 1, SIDE, SIDE))  # more than one block
    train = Images(pixels, np.full(len(pixels), label), NAMES)
    statistics = summarise(train, train).pixels
    assert statistics is not None
    assert statistics.mean == pytest.approx(pixels.mean())
    assert statistics.sd == pytest.approx(pixels.std())
    assert (statistics.low, statistics.high) == (pixels.min(), pixels.max())
    assert statistics.black == pytest.approx((pixels == 0).mean())
    assert statistics.white == pytest.approx((pixels == 255).mean())
    assert summarise(train, train).classes[label].brightness == pytest.approx(pixels.mean())
