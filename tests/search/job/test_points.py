"""Which networks of a front are trained again."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from search.job.points import Scored, points_with_rivals, undominated
from search.study.front import dominates

networks = st.lists(
    st.tuples(st.sampled_from([0.7, 0.8, 0.85, 0.9, 0.91]), st.sampled_from([10.0, 20.0, 50.0, 100.0, 400.0])),
    min_size=1,
    max_size=12,
).map(lambda pairs: [Scored(trial, f1, (cost,)) for trial, (f1, cost) in enumerate(pairs)])


@given(networks)
def test_of_the_front_none_is_dominated_and_every_other_is_or_is_like_one(scored: list[Scored]) -> None:
    front = undominated(scored)
    assert front == sorted(front, key=lambda entry: entry.costs)
    assert [entry.f1 for entry in front] == sorted(entry.f1 for entry in front)
    for entry in scored:
        is_dominated = any(dominates(other.f1, other.costs, entry.f1, entry.costs) for other in scored)
        is_like_one = any((entry.f1, entry.costs) == (other.f1, other.costs) for other in front)
        assert is_dominated != is_like_one


@given(networks, st.integers(1, 6), st.sampled_from([0.0, 0.01, 0.1]))
def test_points_are_of_the_front_with_the_best_and_rivals_that_cost_no_more(
    scored: list[Scored], most: int, loss: float
) -> None:
    groups = points_with_rivals(scored, most, loss)
    points, front = [group[0] for group in groups], undominated(scored)
    assert len(points) == min(most, len(front))
    assert set(points) <= set(front)
    assert front[-1] in points
    if most > 1:
        assert next(entry for entry in front if entry.f1 >= front[-1].f1 - loss) in points
    placed = [entry for group in groups for entry in group]
    assert len(placed) == len(set(placed))
    for point, *rivals in groups:
        assert all(rival.fits(point) and rival.f1 <= point.f1 for rival in rivals)


def test_the_points_are_spread_over_the_costs() -> None:
    scored = [Scored(i, 0.80 + 0.01 * i, (10.0 * 2**i,)) for i in range(10)]
    points = [group[0].trial for group in points_with_rivals(scored, 4, 0.0)]
    assert points[-1] == 9
    assert points[0] <= 1
    assert max(b - a for a, b in pairwise(points)) <= 4


def test_with_two_costs_a_network_that_is_cheaper_in_one_is_kept() -> None:
    small, fast, best = Scored(0, 0.80, (10.0, 90.0)), Scored(1, 0.80, (90.0, 10.0)), Scored(2, 0.90, (90.0, 90.0))
    worse = Scored(3, 0.80, (95.0, 95.0))
    assert undominated([small, fast, best, worse]) == [small, fast, best]
    assert [group[0] for group in points_with_rivals([small, fast, best, worse], 3, 0.0)] == [small, fast, best]


def test_without_a_complete_trial_there_is_no_point() -> None:
    assert points_with_rivals([], 5, 0.01) == []
