"""Figures of a study in Plotly's schema, from plain data. Colours are names of the page's stylesheet, so that they
follow its theme.

One accent marks what was chosen, grey what was not; blue and vermilion are of Okabe and Ito's palette, told apart by
the colour-blind.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

from fmnist.knobs import Scalar
from search.report.calibration import Calibration
from search.report.facts import Confirmed, Importances
from search.report.page.paths import Rung, TrialPath, best_so_far
from search.study.records import Final
from search.terminal.wording import f1, setting, visible

ACCENT, ALARM, INK, MUTED, LINE = "var(--accent)", "var(--alarm)", "var(--ink)", "var(--muted)", "var(--line)"
FAINT = "var(--faint)"  # of what is behind
LONGEST_LABEL = 22  # characters
WORDS_SHOWN = 8  # on one axis of the parallel ones
SCORE = "validation macro F1"
Trace = dict[str, Any]
COMPLETE: Trace = {"color": MUTED, "symbol": "circle", "size": 7}
ENDED: Trace = {"color": FAINT, "symbol": "x", "size": 7}  # early, or over a limit
BEST: Trace = {"color": ACCENT, "symbol": "circle", "size": 11}


@dataclass(frozen=True)
class Figure:
    """What Plotly draws, and what one who cannot see it is told."""

    label: str
    data: list[Trace]
    layout: dict[str, Any] = field(default_factory=dict)
    height: int = 380  # pixels
    width: int = 0  # pixels that it needs at least; on narrower screens it is moved sideways


def label(text: str) -> str:
    """The text short enough for an axis, and as Plotly, which reads some HTML, shows it unchanged."""
    seen = visible(text).replace("\n", " ").strip()
    return escape(seen if len(seen) <= LONGEST_LABEL else f"{seen[: LONGEST_LABEL - 1]}…", quote=False)


def curves(paths: Sequence[TrialPath], best: int | None, levels: Sequence[Rung]) -> Figure:
    """Each trial's score over its epochs; pruned ones grey, the best one in front, a line at every rung."""
    drawn = sorted(
        (path for path in paths if path.curve),
        key=lambda path: (path.number == best, path.searched.state == "complete"),
    )
    traces = []
    for path in drawn:
        chosen, complete = path.number == best, path.searched.state == "complete"
        colour = ACCENT if chosen else MUTED if complete else FAINT
        traces.append(
            {
                "type": "scatter",
                "mode": "lines+markers",
                "name": f"trial {path.number}",
                "x": [epoch for epoch, _ in path.curve],
                "y": [round(value, 5) for _, value in path.curve],
                "line": {"color": colour, "width": 3 if chosen else 1.2},
                "marker": {
                    "color": colour if complete else MUTED,
                    "size": 7 if chosen or not complete else 4,
                    "symbol": _symbols(path),
                },
                "hovertemplate": f"trial {path.number}, {path.searched.state}<br>"
                "epoch %{x}: %{y:.4f}<extra></extra>",
            }
        )
    shapes = [{"type": "line", "x0": r.epoch, "x1": r.epoch, "yref": "paper", "y0": 0, "y1": 1} for r in levels]
    notes = [
        {
            "x": r.epoch,
            "yref": "paper",
            "y": 1,
            "yanchor": "bottom",
            "text": f"{r.pruned}",
            "showarrow": False,
            "font": {"size": 11},
        }
        for r in levels
    ]
    layout = {
        "xaxis": {"title": {"text": "epoch"}, **_whole_ticks([p.curve[-1][0] for p in drawn])},
        "yaxis": {"title": {"text": SCORE}},
        "shapes": [shape | {"line": {"color": MUTED, "width": 1, "dash": "dot"}} for shape in shapes],
        "annotations": [note | {"font": {"size": 11, "color": MUTED}} for note in notes],
    }
    return Figure("Validation macro F1 of each trial over its epochs", traces, layout, 420)


def _symbols(path: TrialPath) -> str | list[str]:
    """A circle an epoch; the last one of a trial that ended early is a cross."""
    return "circle" if path.searched.state == "complete" else ["circle-open"] * (len(path.curve) - 1) + ["x"]


def _whole_ticks(ends: Sequence[int]) -> dict[str, Any]:
    return {"tickformat": "d"} | ({"dtick": 1} if max(ends, default=0) <= 12 else {})


def history(paths: Sequence[TrialPath], best: int | None) -> Figure:
    """Every trial's value by its number, and the best one so far as a line."""
    scored = [path for path in paths if path.searched.value is not None]
    line = best_so_far(scored)
    steps = [*line, (max(path.number for path in scored), line[-1][1])] if line else []
    kinds = (
        ("complete", COMPLETE, [path for path in scored if path.counts and path.number != best]),
        ("pruned or over a limit", ENDED, [path for path in scored if not path.counts]),
        ("best", BEST, [path for path in scored if path.number == best]),
    )
    traces: list[Trace] = [
        {
            "type": "scatter",
            "mode": "lines",
            "name": "best so far",
            "x": [number for number, _ in steps],
            "y": [value for _, value in steps],
            "line": {"shape": "hv", "color": ACCENT, "width": 2},
            "hoverinfo": "skip",
        }
    ]
    traces += [_dots(name, marker, found, [path.number for path in found]) for name, marker, found in kinds if found]
    axes = {
        "xaxis": {"title": {"text": "trial"}, **_whole_ticks([p.number for p in paths])},
        "yaxis": {"title": {"text": SCORE}},
    }
    return Figure("Each trial's value and the best so far", traces, axes | {"showlegend": True}, 380)


def _dots(name: str, marker: Trace, found: Sequence[TrialPath], x: Sequence[object]) -> Trace:
    return {
        "type": "scatter",
        "mode": "markers",
        "name": name,
        "x": list(x),
        "y": [path.searched.value for path in found],
        "text": [f"trial {path.number}, {path.searched.state}" for path in found],
        "marker": marker,
        "hovertemplate": "%{text}<br>%{y:.4f}<extra></extra>",
    }


def importances(found: Importances) -> Figure:
    """A bar for each knob, the largest on top."""
    names = list(found.shares)[::-1]
    bars: Trace = {
        "type": "bar",
        "orientation": "h",
        "x": [found.shares[name] for name in names],
        "y": [label(name) for name in names],
        "marker": {"color": [MUTED] * (len(names) - 1) + [ACCENT]},
        "text": [f"{found.shares[name]:.2f}" for name in names],
        "textposition": "outside",
        "cliponaxis": False,
        "hoverinfo": "skip",
    }
    layout = {
        "xaxis": {"visible": False, "rangemode": "tozero"},
        "yaxis": {"showgrid": False},
        "margin": {"t": 4, "b": 4},
    }
    return Figure("Share of the score's variation that each knob explains", [bars], layout, 20 + 28 * len(names))


def parallel(paths: Sequence[TrialPath], best: int | None, knobs: Sequence[str], log: frozenset[str]) -> Figure:
    """A line for each trial through its knobs to its score; the best quarter darker, the best one in front.

    Lines rather than Plotly's own parallel coordinates, which need WebGL and are lost in print.
    """
    scored = sorted((path for path in paths if path.counts), key=lambda path: path.searched.value or 0.0)
    axes = [_places([path.searched.knobs.get(name) for path in scored], log=name in log) for name in knobs]
    axes.append(_places([path.searched.value for path in scored], log=False))
    traces: list[Trace] = []
    for i, path in enumerate(scored):
        chosen, good = path.number == best, i >= 0.75 * len(scored)
        said = [f"{name} {label(setting(path.searched.knobs.get(name)))}" for name in knobs] + [
            f"macro F1 {f1(path.searched.value)}"
        ]
        traces.append(
            {
                "type": "scatter",
                "mode": "lines+markers",
                "x": list(range(len(axes))),
                "y": [heights[i] for heights, _ in axes],
                "line": {"color": ACCENT if chosen else MUTED if good else FAINT, "width": 3 if chosen else 1.2},
                "marker": {"size": 5},
                "text": said,
                "hovertemplate": f"trial {path.number}<br>%{{text}}<extra></extra>",
            }
        )
    ends = [_mark(x, height, text) for x, (_, marks) in enumerate(axes) for height, text in marks]
    layout = {
        "xaxis": {
            "tickvals": list(range(len(axes))),
            "ticktext": [*map(label, knobs), "macro F1"],
            "side": "top",
            "showgrid": True,
        },
        "yaxis": {"visible": False, "range": [-0.12, 1.12]},
        "annotations": [end | {"font": {"size": 11, "color": MUTED}} for end in ends],
        "margin": {"t": 46, "b": 10, "l": 46, "r": 46},
    }
    return Figure(
        "Each complete trial as a line through its knobs to its score", traces, layout, 400, width=105 * len(axes)
    )


def _mark(x: int, height: float, text: str) -> dict[str, Any]:
    beside = {"xshift": 7, "xanchor": "left"} if 0 < height < 1 else {"yshift": 12 if height else -12}
    return {"x": x, "y": height, "text": label(text), "showarrow": False} | beside


def _places(values: Sequence[Scalar | None], *, log: bool) -> tuple[list[float | None], list[tuple[float, str]]]:
    """Heights from 0 to 1, by size for numbers and evenly for words; and what stands beside the axis, where."""
    known = [value for value in values if value is not None]
    if any(isinstance(value, str | bool) for value in known):
        words = sorted({setting(value) for value in known})
        height = {word: i / max(1, len(words) - 1) for i, word in enumerate(words)}
        marks = [(place, word) for word, place in height.items() if len(words) <= WORDS_SHOWN or place in (0, 1)]
        return [None if value is None else height[setting(value)] for value in values], marks
    scale = math.log if log else float
    low, high = (end((value for value in known), key=float, default=1.0) for end in (min, max))
    span = scale(float(high)) - scale(float(low)) or 1.0
    heights = [None if value is None else (scale(float(value)) - scale(float(low))) / span for value in values]
    return heights, [(0, setting(low)), (1, setting(high))] if high != low else [(0, setting(low))]


def slice_of(name: str, paths: Sequence[TrialPath], best: int | None, *, log: bool) -> Figure:
    """The score over one knob."""
    scored = [path for path in paths if path.searched.value is not None and path.searched.knobs.get(name) is not None]
    kinds = (
        ("pruned", ENDED, [path for path in scored if not path.counts]),
        ("complete", COMPLETE, [path for path in scored if path.counts and path.number != best]),
        ("best", BEST, [path for path in scored if path.number == best]),
    )
    traces = [
        _dots(kind, marker, found, [_shown(path.searched.knobs[name]) for path in found])
        for kind, marker, found in kinds
    ]
    values = [path.searched.knobs[name] for path in scored]
    words = any(isinstance(value, str | bool) for value in values)
    axis: dict[str, Any] = {
        "title": {"text": label(name)},
        "type": "category" if words else "log" if log else "linear",
        "nticks": 5,
        "tickangle": 0,
    }
    if log and values:
        low, high = (end(float(value or 0) for value in values) for end in (min, max))
        ticks = (
            [low, math.sqrt(low * high), high] if high > low else [low]
        )  # Plotly's own crowd where there are less than ten to one
        axis |= {"tickvals": ticks, "ticktext": [setting(tick) for tick in ticks]}
    return Figure(f"Score over {name}", traces, {"xaxis": axis, "margin": {"l": 48, "r": 22, "t": 10, "b": 46}}, 240)


def _shown(value: Scalar | None) -> Scalar | None:
    return label(setting(value)) if isinstance(value, str | bool) else value


def confirmation(confirmed: Sequence[Confirmed], winner: int | None) -> Figure:
    """What the search gave each candidate, and the mean of its fresh seeds with their standard deviation."""
    rows = [one for one in confirmed if one.mean is not None][::-1]
    names = [f"trial {one.trial}" for one in rows]
    search: Trace = {
        "type": "scatter",
        "mode": "markers",
        "name": "in the search, one seed",
        "x": [one.search_value for one in rows],
        "y": names,
        "marker": {"color": MUTED, "symbol": "circle-open", "size": 11, "line": {"width": 2}},
        "hovertemplate": "%{y} in the search: %{x:.4f}<extra></extra>",
    }
    mean: Trace = {
        "type": "scatter",
        "mode": "markers",
        "name": "mean ± sd of fresh seeds",
        "x": [one.mean for one in rows],
        "y": names,
        "error_x": {"type": "data", "array": [one.sd or 0.0 for one in rows], "color": MUTED, "thickness": 1.5},
        "marker": {"color": [ACCENT if one.trial == winner else INK for one in rows], "size": 11},
        "hovertemplate": "%{y} confirmed: %{x:.4f}<extra></extra>",
    }
    axes = {"xaxis": {"title": {"text": SCORE}, "nticks": 6}, "yaxis": {"type": "category"}, "showlegend": True}
    return Figure("Search values and confirmed means of the candidates", [search, mean], axes, 150 + 44 * len(rows))


def reliability(found: Calibration) -> Figure:
    """Accuracy over probability, with the line on which both are the same; below, how many images each bin holds."""
    middles = [round((one.low + one.high) / 2, 5) for one in found.bins]
    bars: Trace = {
        "type": "bar",
        "x": middles,
        "y": [one.accuracy for one in found.bins],
        "width": 1 / len(middles) * 0.9,
        "marker": {"color": ACCENT},
        "customdata": [[one.confidence, one.images] for one in found.bins],
        "hovertemplate": "accuracy %{y:.3f}<br>mean probability %{customdata[0]:.3f}<br>"
        "%{customdata[1]:,} images<extra></extra>",
    }
    line: Trace = {
        "type": "scatter",
        "mode": "lines",
        "x": [0, 1],
        "y": [0, 1],
        "line": {"color": INK, "dash": "dot", "width": 1.5},
    }
    images: Trace = {
        "type": "bar",
        "x": middles,
        "y": [one.images for one in found.bins],
        "width": 1 / len(middles) * 0.9,
        "yaxis": "y2",
        "marker": {"color": FAINT},
        "hoverinfo": "skip",
    }
    layout = {
        "xaxis": {"title": {"text": "probability of the predicted class"}, "range": [0, 1], "anchor": "y2"},
        "yaxis": {"title": {"text": "share that is right"}, "range": [0, 1.02], "domain": [0.32, 1]},
        "yaxis2": {"title": {"text": "images"}, "domain": [0, 0.2], "nticks": 3},
    }
    return Figure("Reliability diagram", [bars, line | {"hoverinfo": "skip"}, images], layout, 460)


def heatmap(final: Final) -> Figure:
    """The confusion matrix of very many classes: shares of the true class; figures on pointing."""
    names = [f"{i} {label(one.name)}" for i, one in enumerate(final.classes)]
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
