"""The figure of a front: F1 over a cost, of the trials and of the points that were trained again and tested."""

from collections.abc import Sequence

from search.report.front import PointOfFront
from search.report.page.blocks import Facts
from search.report.page.figure import ACCENT, FAINT, INK, MUTED, Figure, Trace
from search.samplers.names import UNITS
from search.terminal.wording import amount

ROOM = 0.15  # of the axis of F1, above and below what is drawn


def front_figure(facts: Facts) -> Figure:
    """Draw the front over its first cost: trials on validation, and its points on validation and test."""
    points = facts.report.front
    cost = next(iter(points[0].costs))
    validation = [point.validation for point in points]
    low, high = min([point.low for point in points] + validation), max([point.high for point in points] + validation)
    room = ROOM * (high - low)
    axes = {
        "xaxis": {"title": {"text": UNITS[cost]}, "type": "log"},
        # A trial far below the front would flatten it.
        "yaxis": {"title": {"text": "macro F1"}, "range": [low - room, high + room]},
        "showlegend": True,
    }
    traces = [_trials(facts, UNITS[cost]), _validated(points, cost), _tested(points, cost)]
    return Figure(f"Macro F1 over {UNITS[cost]}: the front", traces, axes, 420)


def _trials(facts: Facts, unit: str) -> Trace:
    trials = [path for path in facts.paths if path.counts]
    return {
        "type": "scatter",
        "mode": "markers",
        "name": "trials, on validation",
        "x": [path.costs[0] for path in trials],
        "y": [path.searched.value for path in trials],
        "text": [f"trial {path.number}, {amount(path.costs[0])} {unit}" for path in trials],
        "marker": {"color": FAINT, "size": 7},
        "hovertemplate": "%{text}: %{y:.4f}<extra></extra>",
    }


def _validated(points: Sequence[PointOfFront], cost: str) -> Trace:
    return {
        **_over(points, cost),
        "name": "points, on validation",
        "y": [point.validation for point in points],
        "line": {"color": MUTED, "dash": "dot", "shape": "hv"},
        "marker": {"color": MUTED, "symbol": "circle-open", "size": 10, "line": {"width": 2}},
        "hovertemplate": "%{text}, on validation: %{y:.4f}<extra></extra>",
    }


def _tested(points: Sequence[PointOfFront], cost: str) -> Trace:
    return {
        **_over(points, cost),
        "name": "points, on test, with interval",
        "y": [point.mean for point in points],
        "error_y": {
            "type": "data",
            "array": [point.high - point.mean for point in points],
            "arrayminus": [point.mean - point.low for point in points],
            "color": INK,
            "thickness": 1.2,
        },
        "line": {"color": ACCENT, "shape": "hv"},
        "marker": {"color": ACCENT, "size": 10},
        "hovertemplate": "%{text}, on test: %{y:.4f}<extra></extra>",
    }


def _over(points: Sequence[PointOfFront], cost: str) -> Trace:
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "x": [point.costs[cost] for point in points],
        "text": [f"trial {point.trial}, {amount(point.costs[cost])} {UNITS[cost]}" for point in points],
    }
