"""The front below which a search against costs looks for area."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from optuna.distributions import FloatDistribution, IntDistribution
from scipy.stats import norm

from search.samplers.cube import Cube
from search.samplers.freeze_thaw import FreezeThaw, Pause, Seen, Step
from search.samplers.front import DEPTH, Front
from search.samplers.prior import Prior

Floats = NDArray[np.float64]
RANGE = np.array([[100.0], [10_000.0]])
RANGES = np.array([[100.0, 10.0], [10_000.0, 1_000.0]])
CUBE = Cube({"filters": IntDistribution(1, 64, log=True), "dropout": FloatDistribution(0.0, 0.5)})
values = st.floats(1.0, 4.0)
costs = st.floats(100.0, 10_000.0)


def volume(front: Front, entries: list[tuple[float, tuple[float, ...]]]) -> float:
    y, dear = np.array([value for value, _ in entries]), np.array([cost for _, cost in entries])
    return float(front.best(y, dear, 0.0).mean())


def test_without_costs_it_is_the_expected_improvement_of_the_best() -> None:
    front, none = Front(np.zeros((1, 0))), np.zeros((3, 0))
    best = front.best(np.array([1.0, 2.5, 2.0]), none, 0.0)
    assert best == [2.5]
    mean, sd = np.array([2.0, 2.5, 3.0]), np.array([0.1, 0.5, 0.2])
    z = (mean - 2.5) / sd
    expected = (mean - 2.5) * norm.cdf(z) + sd * norm.pdf(z)
    assert np.allclose(front.improvement(mean, sd, none, best), expected)
    assert front.rival(none[0], best) == 2.5


@pytest.mark.parametrize("over", [RANGE, RANGES])
@given(data=st.data())
def test_what_is_surely_better_adds_the_area_that_it_has(over: Floats, data: st.DataObject) -> None:
    front, count = Front(over), over.shape[1]
    networks = st.tuples(values, st.tuples(*[st.floats(*over[:, axis]) for axis in range(count)]))
    known = data.draw(st.lists(networks, min_size=1, max_size=6))
    top = max(value for value, _ in known)
    value, cost = data.draw(networks)
    value = min(value, top)  # else the depth of the front moves
    best = front.best(np.array([y for y, _ in known]), np.array([c for _, c in known]), 0.0)
    gain = front.improvement(np.array([value]), np.array([1e-9]), np.array([cost]), best)[0]
    assert gain == pytest.approx(volume(front, [*known, (value, cost)]) - volume(front, known), abs=1e-6)


@given(y=values, cost=costs)
def test_a_cheaper_network_promises_no_less(y: float, cost: float) -> None:
    front = Front(RANGE)
    best = front.best(np.array([2.0, 3.0]), np.array([[300.0], [3_000.0]]), 0.0)
    pair = np.array([[cost], [max(100.0, cost / 2)]])
    dear, cheap = front.improvement(np.array([y, y]), np.array([0.1, 0.1]), pair, best)
    assert cheap >= dear


def test_below_the_cheapest_network_the_front_is_low_and_has_no_rival() -> None:
    front = Front(RANGE)
    best = front.best(np.array([2.0, 3.0]), np.array([[300.0], [3_000.0]]), 0.0)
    assert best.min() == 3.0 - DEPTH
    assert front.rival(np.array([150.0]), best) is None
    assert front.rival(np.array([400.0]), best) == 2.0
    assert front.rival(np.array([9_000.0]), best) == 3.0


def test_those_that_hold_the_front_are_spread_over_the_costs() -> None:
    front = Front(RANGE)
    dear = np.array([[200.0], [400.0], [800.0], [1_600.0], [3_200.0], [6_400.0], [500.0]])
    y = np.array([1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 1.2])
    assert list(front.holders(y, dear, 10)) == [0, 1, 2, 3, 4, 5]  # not the last, which is dominated
    assert list(front.holders(y, dear, 3)) in ([0, 2, 5], [0, 3, 5])


def test_a_search_against_parameters_finds_small_and_large_networks() -> None:
    """F1 grows with the width, so the best F1 alone is one wide network; the front has all widths."""

    def f1(filters: int, dropout: float) -> float:
        return float(0.80 + 0.03 * np.log2(filters) / 6 * 4 - 0.1 * (dropout - 0.2) ** 2)

    def run(*, against: bool) -> list[float]:
        search = FreezeThaw(
            CUBE, 3, seed=1, costs_of=(lambda knobs: (float(knobs["filters"]) ** 2,)) if against else None
        )
        seen: list[Seen] = []
        for number in range(14):
            step = search.next_step(seen, new=1)
            assert isinstance(step, Step)
            assert step.knobs is not None
            last = f1(step.knobs["filters"], step.knobs["dropout"])
            seen.append(Seen(number, step.knobs, (last - 0.1, last - 0.03, last), "complete"))
        return [trial.knobs["filters"] for trial in seen[4:]]

    with_costs, without = run(against=True), run(against=False)
    assert min(with_costs) <= 4
    assert max(with_costs) >= 24
    assert np.median(without) > np.median(with_costs)


def test_with_a_prior_alone_a_network_is_proposed() -> None:
    prior = Prior(CUBE.space, {})
    known = [{"filters": filters, "dropout": 0.1} for filters in (2, 4, 8, 16, 32)]
    curves = np.array([[0.7, 0.8, 0.82 + 0.02 * row] for row in range(5)])
    prior.add(CUBE.space, known, curves, np.random.default_rng(0))
    search = FreezeThaw(CUBE, 3, seed=1, prior=prior, costs_of=lambda knobs: (float(knobs["filters"]),))
    step = search.next_step([], new=1)
    assert isinstance(step, Step)
    assert step.knobs is not None


def test_a_pause_names_the_best_of_no_more_cost() -> None:
    search = FreezeThaw(CUBE, 4, seed=0, costs_of=lambda knobs: (float(knobs["filters"]),))
    ends = {2: 0.80, 8: 0.85, 32: 0.90}
    seen = [
        Seen(number, {"filters": filters, "dropout": 0.1}, (end - 0.2, end - 0.1, end - 0.02, end), "complete")
        for number, (filters, end) in enumerate(ends.items())
    ]
    poor = Seen(3, {"filters": 8, "dropout": 0.5}, (0.2,), "running")
    pause = search.pause([*seen, poor, replace_number(seen[0], 4)], 3, new=10)
    assert isinstance(pause, Pause)
    assert pause.best == pytest.approx(0.85, abs=0.02)


def replace_number(trial: Seen, number: int) -> Seen:
    return Seen(number, {"filters": 3, "dropout": 0.1}, trial.f1, trial.state)
