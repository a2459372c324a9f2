"""Figures of the result: the candidates, calibration and the confusion."""

from collections.abc import Sequence

from search.report.calibration import Calibration
from search.report.facts import Confirmed
from search.report.page.figure import ACCENT, FAINT, INK, MUTED, SCORE, Figure, Trace, label
from search.study.records import Final


def confirmation(confirmed: Sequence[Confirmed], winner: int | None) -> Figure:
    """Draw each candidate's search value, and the mean and standard deviation over its fresh seeds."""
    drawn = [candidate for candidate in confirmed if candidate.mean is not None][::-1]
    names = [f"trial {candidate.trial}" for candidate in drawn]
    search: Trace = {
        "type": "scatter",
        "mode": "markers",
        "name": "in the search, one seed",
        "x": [candidate.search_value for candidate in drawn],
        "y": names,
        "marker": {"color": MUTED, "symbol": "circle-open", "size": 11, "line": {"width": 2}},
        "hovertemplate": "%{y} in the search: %{x:.4f}<extra></extra>",
    }
    mean: Trace = {
        "type": "scatter",
        "mode": "markers",
        "name": "mean ± sd of fresh seeds",
        "x": [candidate.mean for candidate in drawn],
        "y": names,
        "error_x": {
            "type": "data",
            "array": [candidate.sd or 0.0 for candidate in drawn],
            "color": MUTED,
            "thickness": 1.5,
        },
        "marker": {"color": [ACCENT if candidate.trial == winner else INK for candidate in drawn], "size": 11},
        "hovertemplate": "%{y} confirmed: %{x:.4f}<extra></extra>",
    }
    axes = {"xaxis": {"title": {"text": SCORE}, "nticks": 6}, "yaxis": {"type": "category"}, "showlegend": True}
    return Figure("Search values and confirmed means of the candidates", [search, mean], axes, 150 + 44 * len(drawn))


def reliability(calibration: Calibration) -> Figure:
    """Draw accuracy over probability with the diagonal and, below, the number of images in each bin."""
    middles = [round((interval.low + interval.high) / 2, 5) for interval in calibration.bins]
    bars: Trace = {
        "type": "bar",
        "x": middles,
        "y": [interval.accuracy for interval in calibration.bins],
        "width": 0.9 / len(middles),
        "marker": {"color": ACCENT},
        "customdata": [[interval.confidence, interval.images] for interval in calibration.bins],
        "hovertemplate": "accuracy %{y:.3f}<br>mean probability %{customdata[0]:.3f}<br>"
        "%{customdata[1]:,} images<extra></extra>",
    }
    line: Trace = {
        "type": "scatter",
        "mode": "lines",
        "x": [0, 1],
        "y": [0, 1],
        "line": {"color": INK, "dash": "dot", "width": 1.5},
        "hoverinfo": "skip",
    }
    images: Trace = {
        "type": "bar",
        "x": middles,
        "y": [interval.images for interval in calibration.bins],
        "width": 0.9 / len(middles),
        "yaxis": "y2",
        "marker": {"color": FAINT},
        "hoverinfo": "skip",
    }
    layout = {
        "xaxis": {"title": {"text": "probability of the predicted class"}, "range": [0, 1], "anchor": "y2"},
        "yaxis": {"title": {"text": "share that is right"}, "range": [0, 1.02], "domain": [0.32, 1]},
        "yaxis2": {"title": {"text": "images"}, "domain": [0, 0.2], "nticks": 3},
    }
    return Figure("Reliability diagram", [bars, line, images], layout, 460)


def heatmap(final: Final) -> Figure:
    """Draw the confusion matrix of many classes as shares of the true class; hovering shows the counts."""
    names = [f"{i} {label(score.name)}" for i, score in enumerate(final.classes)]
    shares = [[round(count / max(1, sum(row)), 4) for count in row] for row in final.confusion]
    trace: Trace = {
        "type": "heatmap",
        "x": names,
        "y": names,
        "z": shares,
        "customdata": [list(row) for row in final.confusion],
        "colorscale": [[0, "var(--paper)"], [1, ACCENT]],
        "showscale": False,
        "hovertemplate": "true %{y}<br>predicted %{x}<br>%{customdata} images<extra></extra>",
    }
    layout = {"xaxis": {"visible": False}, "yaxis": {"visible": False, "autorange": "reversed"}}
    return Figure("Confusion matrix, rows true and columns predicted", [trace], layout, 620)
