"""Figures of studies side by side: scores, what they cost, and the paths of their searches."""

import math
from collections.abc import Sequence
from typing import Any

from search.report.comparison import Comparison, Tested
from search.report.page.figure import ACCENT, INK, MUTED, SCORE, Figure, Trace, label, look, rows
from search.report.page.spent import Step

ROW = 58  # pixels of a study
TEST_SCORE = "test macro F1"
LEAST_SPAN = 0.02  # of macro F1, on the axis of the searches
MOST_TICKS = 7  # of a logarithmic axis; beyond these, only powers of 10
SPANS = 4  # of the axis of the searches: so many times the distance between their ends


def scores(studies: Sequence[Tested]) -> Figure:
    """Draw, in a row for each study, its test score with the interval, the confirmed score, and that of the search."""
    confirmed = [(row, study.records.confirmed) for row, study in enumerate(studies) if study.records.confirmed]
    searched = [(row, study.records.best) for row, study in enumerate(studies) if study.records.best is not None]
    traces: list[Trace] = [
        {
            **_dots(
                "best of the search, one seed", [row + 0.24 for row, _ in searched], [best for _, best in searched]
            ),
            "marker": {"color": MUTED, "symbol": "circle-open", "size": 10, "line": {"width": 2}},
        },
        {
            **_dots("confirmed ± sd", [row for row, _ in confirmed], [score.mean for _, score in confirmed]),
            "error_x": _error([score.sd or 0.0 for _, score in confirmed]),
            "marker": {"color": INK, "symbol": "diamond", "size": 10},
        },
        {
            **_dots(
                "test, with interval", [row - 0.24 for row in range(len(studies))], [s.final.mean for s in studies]
            ),
            "error_x": _error(
                [s.final.high - s.final.mean for s in studies], [s.final.mean - s.final.low for s in studies]
            ),
            "marker": {"color": ACCENT, "size": 12},
        },
    ]
    layout = {
        "xaxis": {"title": {"text": "macro F1"}, "nticks": 6},
        "yaxis": rows([label(study.name) for study in studies]),
        "showlegend": True,
        "legend": {"traceorder": "reversed", "orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
    }
    return Figure("Test, confirmed and search scores of each study", traces, layout, 130 + ROW * len(studies))


def differences(comparison: Comparison) -> Figure:
    """Draw the difference of each study from the baseline with its paired interval."""
    found = comparison.differences
    trace: Trace = {
        **_dots("difference", list(range(len(found))), [by.value for by in found], sign="+"),
        "error_x": _error([by.high - by.value for by in found], [by.value - by.low for by in found]),
        "marker": {
            "color": [look(place).colour for place in range(1, len(found) + 1)],
            "symbol": [look(place).symbol for place in range(1, len(found) + 1)],
            "size": 12,
        },
    }
    layout = {
        "xaxis": {
            "title": {"text": f"{TEST_SCORE} minus the baseline's"},
            "nticks": 6,
            "tickformat": "+",
            "rangemode": "tozero",
        },
        "yaxis": rows([label(study.name) for study in comparison.others]),
        "shapes": [{"type": "line", "x0": 0, "x1": 0, "yref": "paper", "y0": 0, "y1": 1, "line": {"color": INK}}],
    }
    return Figure("Differences from the baseline with paired intervals", [trace], layout, 90 + 44 * len(found))


def _dots(name: str, y: Sequence[float], x: Sequence[float | None], sign: str = "") -> Trace:
    return {
        "type": "scatter",
        "mode": "markers",
        "name": name,
        "x": list(x),
        "y": list(y),
        "hovertemplate": f"{name}: %{{x:{sign}.4f}}<extra></extra>",
    }


def _error(above: Sequence[float], below: Sequence[float] | None = None) -> Trace:
    error = {"type": "data", "array": list(above), "color": MUTED, "thickness": 1.5}
    return error | ({} if below is None else {"arrayminus": list(below)})


def score_over(studies: Sequence[Tested], costs: Sequence[float], axis: str) -> Figure:
    """Draw the test score of each study over what it costs, on a logarithmic scale."""
    traces = []
    for place, (study, cost) in enumerate(zip(studies, costs, strict=True)):
        if cost <= 0:  # not on record
            continue
        final, drawn, name = study.final, look(place), label(study.name)
        traces.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": name,
                "x": [cost],
                "y": [final.mean],
                "error_y": _error([final.high - final.mean], [final.mean - final.low]) | {"color": drawn.colour},
                "marker": {"color": drawn.colour, "symbol": drawn.symbol, "size": 11},
                "hovertemplate": f"{name}: %{{y:.4f}} with %{{x:,.4~g}}<extra></extra>",
            }
        )
    axes = {
        "xaxis": {"title": {"text": axis}, "type": "log", **_log_ticks(costs)},
        "yaxis": {"title": {"text": TEST_SCORE}},
        "showlegend": True,
    }
    return Figure(f"{TEST_SCORE[0].upper()}{TEST_SCORE[1:]} over {axis}", traces, axes, 340)


def _log_ticks(values: Sequence[float]) -> dict[str, Any]:
    """Return an axis from below the lowest value to above the highest, with ticks at 1, 2 and 5 times powers of 10."""
    known = [value for value in values if value > 0] or [1.0]
    low, high = min(known), max(known)
    room = 0.1 * math.log10(high / low) or 0.1
    ends = [math.log10(low) - room, math.log10(high) + room]
    powers = range(math.floor(ends[0]), math.ceil(ends[1]) + 1)
    ticks = [digit * 10.0**power for power in powers for digit in (1, 2, 5)]
    shown = [tick for tick in ticks if ends[0] <= math.log10(tick) <= ends[1]]
    if len(shown) < 2:  # the values are near to each other
        shown = sorted({low, high})
    elif len(shown) > MOST_TICKS:
        shown = [tick for tick in shown if round(math.log10(tick), 6).is_integer()]
    texts = [f"{tick:,.0f}" if tick >= 100 else f"{tick:.3g}" for tick in shown]
    return {"range": ends, "tickvals": shown, "ticktext": texts, "tickangle": 0}


def best_so_far(names: Sequence[str], steps: Sequence[Sequence[Step]], axis: str) -> Figure:
    """Draw the best value so far of each search over what it had spent."""
    traces: list[Trace] = []
    for place, (name, line) in enumerate(zip(names, steps, strict=True)):
        drawn = look(place)
        traces.append(
            {
                "type": "scatter",
                "mode": "lines+markers",
                "name": label(name),
                "x": [round(spent, 4) for spent, _ in line],
                "y": [round(value, 5) for _, value in line],
                "line": {"shape": "hv", "color": drawn.colour, "dash": drawn.dash, "width": 2},
                "marker": {"color": drawn.colour, "symbol": drawn.symbol, "size": 7},
                "hovertemplate": f"{label(name)}: %{{y:.4f}} after %{{x:,.4~g}}<extra></extra>",
            }
        )
    axes = {
        "xaxis": {"title": {"text": axis}, "rangemode": "tozero"},
        "yaxis": {"title": {"text": f"best {SCORE} so far"}, "range": _ends(steps)},
        "showlegend": True,
    }
    return Figure(f"Best value so far of each search over {axis}", traces, axes, 360)


def _ends(steps: Sequence[Sequence[Step]]) -> list[float]:
    """Return the ends of the axis: where the searches end, the differences are small; how they begin is cut off."""
    values = [value for line in steps for _, value in line]
    last = [line[-1][1] for line in steps if line]
    span = max(LEAST_SPAN, SPANS * (max(last) - min(last)))
    low = max(min(values), max(last) - span)
    room = 0.08 * (max(last) - low) or 0.001
    return [low - room, max(last) + room]
