"""The figure of a front: F1 over a cost, of the trials and of the points that were trained again and tested."""

from search.report.page.blocks import Facts
from search.report.page.figure import ACCENT, FAINT, INK, MUTED, Figure, Trace


def front_figure(facts: Facts) -> Figure:
    """Draw the front over its first cost: trials on validation, and its points on validation and test."""
    points = facts.report.front
    cost = next(iter(points[0].costs))
    trials = [path for path in facts.paths if path.counts]
    x, numbers = [point.costs[cost] for point in points], [f"trial {point.trial}" for point in points]
    searched: Trace = {
        "type": "scatter",
        "mode": "markers",
        "name": "trials, on validation",
        "x": [path.costs[0] for path in trials],
        "y": [path.searched.value for path in trials],
        "text": [f"trial {path.number}" for path in trials],
        "marker": {"color": FAINT, "size": 7},
        "hovertemplate": "%{text}: %{y:.4f} with %{x:,}<extra></extra>",
    }
    confirmed: Trace = {
        "type": "scatter",
        "mode": "lines+markers",
        "name": "points, on validation",
        "x": x,
        "y": [point.validation for point in points],
        "text": numbers,
        "line": {"color": MUTED, "dash": "dot", "shape": "hv"},
        "marker": {"color": MUTED, "symbol": "circle-open", "size": 10, "line": {"width": 2}},
        "hovertemplate": "%{text} on validation: %{y:.4f}<extra></extra>",
    }
    tested: Trace = {
        "type": "scatter",
        "mode": "lines+markers",
        "name": "points, on test, with interval",
        "x": x,
        "y": [point.mean for point in points],
        "text": numbers,
        "error_y": {
            "type": "data",
            "array": [point.high - point.mean for point in points],
            "arrayminus": [point.mean - point.low for point in points],
            "color": INK,
            "thickness": 1.2,
        },
        "line": {"color": ACCENT, "shape": "hv"},
        "marker": {"color": ACCENT, "size": 10},
        "hovertemplate": "%{text} on test: %{y:.4f} with %{x:,}<extra></extra>",
    }
    seen = [*(point.low for point in points), *(point.validation for point in points)]
    seen_up = [*(point.high for point in points), *(point.validation for point in points)]
    room = 0.15 * (max(seen_up) - min(seen))
    axes = {
        "xaxis": {"title": {"text": cost}, "type": "log"},
        # A trial far below the front would flatten it.
        "yaxis": {"title": {"text": "macro F1"}, "range": [min(seen) - room, max(seen_up) + room]},
        "showlegend": True,
    }
    return Figure(f"Macro F1 over {cost}: the front", [searched, confirmed, tested], axes, 420)
