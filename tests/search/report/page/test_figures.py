"""The figures of a search as data: their axes, what is drawn where, and what is left out."""

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.report.chosen import ChosenKnob
from search.report.facts import Searched
from search.report.page.knob_figures import GRID, pair_of, slice_of
from search.report.page.paths import TrialPath
from search.report.page.search_figures import history, timeline

RATE = ChosenKnob(name="learning_rate", value=0.01, low=0.001, high=0.1, log=True)
DROPOUT = ChosenKnob(name="dropout", value=0.1, low=0.0, high=0.5)
ACTIVATION = ChosenKnob(name="activation", value="silu", options=("relu", "silu"))


def path(
    number: int, value: float, *, state: str = "complete", ran: tuple[float, float] | None = None, **knobs: float | str
) -> TrialPath:
    searched = Searched(
        number=number,
        state=state,
        value=value,
        feasible=True,
        knobs=dict(knobs),
        parameters=None,
        flops=None,
        seconds=None,
        seed=0,
    )
    return TrialPath(searched=searched, curve=(), reason=None, over=(), is_refused=False, ran=ran)


def complete(count: int) -> list[TrialPath]:
    """Trials that are the better, the nearer their learning rate is to 0.01."""
    rates = [0.001 * 100 ** (i / (count - 1)) for i in range(count)]
    return [
        path(i, 0.94 - 0.01 * math.log10(rate / 0.01) ** 2, learning_rate=rate, dropout=0.5 * (i * 7 % count) / count)
        for i, rate in enumerate(rates)
    ]


def test_the_axis_of_scores_is_that_of_complete_trials_and_others_are_strokes_at_its_bottom() -> None:
    paths = [*complete(4), path(4, 0.2, state="pruned", learning_rate=0.05)]
    for figure in (slice_of("learning_rate", paths, {}, RATE), history(paths, {})):
        low, high = figure.layout["yaxis"]["range"]
        assert 0.92 < low < 0.93
        assert max(path.searched.value or 0 for path in paths) < high < 0.95
        (strokes,) = [trace for trace in figure.data if trace["name"] == "no comparable score"]
        assert low < strokes["y"][0] < min(path.searched.value or 1 for path in paths[:4])
        assert strokes["text"] == ["trial 4, pruned, last 0.2000"]


def test_without_two_complete_trials_all_stand_at_their_last_scores() -> None:
    figure = history([path(0, 0.9), path(1, 0.2, state="pruned")], {})
    assert figure.layout["yaxis"]["range"] is None
    assert [trace["y"] for trace in figure.data[1:]] == [[0.2], [0.9]]


def test_a_slice_has_the_range_of_the_study_and_a_trend() -> None:
    figure = slice_of("learning_rate", complete(9), {4: "winner"}, RATE)
    axis = figure.layout["xaxis"]
    assert axis["type"] == "log"
    assert axis["range"] == pytest.approx([-3.1, -0.9])
    assert axis["ticktext"] == ["0.001", "0.01", "0.1"]
    trend = next(trace for trace in figure.data if trace["name"] == "local mean")
    best = max(zip(trend["y"], trend["x"], strict=True))[1]
    assert 0.005 < best < 0.02
    few = slice_of("learning_rate", complete(7), {}, RATE)
    assert all(trace["name"] != "local mean" for trace in few.data)


def test_a_choice_has_all_its_options_in_their_order() -> None:
    figure = slice_of("activation", [path(0, 0.9, activation="silu"), path(1, 0.8, activation="silu")], {}, ACTIVATION)
    assert figure.layout["xaxis"]["categoryarray"] == ["relu", "silu"]


def test_of_two_knobs_the_shade_is_the_mean_nearby_and_absent_where_no_trial_is() -> None:
    paths = [path(i, 0.9 + 0.001 * i, learning_rate=0.001, dropout=0.05 * i) for i in range(10)]
    figure = pair_of(("learning_rate", "dropout"), paths, {9: "winner"}, {knob.name: knob for knob in (RATE, DROPOUT)})
    shade, dots = figure.data
    assert (len(shade["z"]), len(shade["z"][0])) == (GRID, GRID)
    assert shade["z"][0][-1] is None, "far from every trial"
    assert 0.9 <= shade["z"][0][0] < shade["z"][-1][0] <= 0.909
    assert dots["marker"]["line"]["width"] == [0.5] * 9 + [2]


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(1, 20)), min_size=1, max_size=30))
def test_in_a_timeline_no_two_bars_of_a_lane_overlap(spans: list[tuple[int, int]]) -> None:
    paths = [path(i, 0.9, ran=(60.0 * start, 60.0 * (start + length))) for i, (start, length) in enumerate(spans)]
    (bars,) = timeline(paths, {}).data
    lanes: dict[int, list[tuple[float, float]]] = {}
    for lane, base, length in zip(bars["y"], bars["base"], bars["x"], strict=True):
        lanes.setdefault(lane, []).append((base, base + length))
    for drawn in lanes.values():
        drawn.sort()
        assert all(before[1] <= after[0] + 0.01 for before, after in pairwise(drawn))
    most = max(sum(start <= moment < start + length for start, length in spans) for moment in range(80))
    assert len(lanes) == most
