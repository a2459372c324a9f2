"""Figures of a search: its trials, their curves and their knobs."""

import math
from collections.abc import Sequence
from typing import Any

from fmnist.knobs import Scalar
from search.report.importances import Importances
from search.report.page.figure import ACCENT, FAINT, MUTED, SCORE, Figure, Trace, label
from search.report.page.paths import Rung, TrialPath, best_so_far
from search.study.winner import Standings
from search.terminal.wording import f1, setting

SAME_MOMENT = 0.5  # seconds between the end of a trial and the start of the next one on a worker, at least
WORDS_SHOWN = 8  # on an axis of the parallel plot
COMPLETE: Trace = {"color": MUTED, "symbol": "circle", "size": 7}
RUG: Trace = {"color": MUTED, "symbol": "line-ns-open", "size": 9}  # of trials that ended early, or are no candidates
FRONT: Trace = {"color": ACCENT, "symbol": "circle", "size": 11}
SECOND: Trace = {"color": ACCENT, "symbol": "circle-open", "size": 11, "line": {"width": 2}}


def curves(paths: Sequence[TrialPath], marked: Standings, levels: Sequence[Rung]) -> Figure:
    """Draw each trial's score over its epochs, pruned trials grey, one in front, and a line at each rung."""
    front = next(iter(marked), None)
    drawn = sorted(
        (path for path in paths if path.curve),
        key=lambda path: (path.number == front, path.searched.state == "complete"),
    )
    line = {"type": "line", "yref": "paper", "y0": 0, "y1": 1, "line": {"color": MUTED, "width": 1, "dash": "dot"}}
    note = {"yref": "paper", "y": 1, "yanchor": "bottom", "showarrow": False, "font": {"size": 11, "color": MUTED}}
    layout = {
        "xaxis": {"title": {"text": "epoch"}, **_whole_ticks([path.curve[-1][0] for path in drawn])},
        "yaxis": {"title": {"text": SCORE}},
        "shapes": [line | {"x0": rung.epoch, "x1": rung.epoch} for rung in levels],
        "annotations": [note | {"x": rung.epoch, "text": f"{rung.pruned}"} for rung in levels],
    }
    traces = [_curve(path, chosen=path.number == front) for path in drawn]
    return Figure("Validation macro F1 of each trial over its epochs", traces, layout, 420)


def _curve(path: TrialPath, *, chosen: bool) -> Trace:
    complete = path.searched.state == "complete"
    colour = ACCENT if chosen else MUTED if complete else FAINT
    return {
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
        "hovertemplate": f"trial {path.number}, {path.searched.state}<br>epoch %{{x}}: %{{y:.4f}}<extra></extra>",
    }


def _symbols(path: TrialPath) -> str | list[str]:
    """Return circles; the last one of a trial that ended early is a cross."""
    return "circle" if path.searched.state == "complete" else ["circle-open"] * (len(path.curve) - 1) + ["x"]


def _whole_ticks(ends: Sequence[int]) -> dict[str, Any]:
    return {"tickformat": "d"} | ({"dtick": 1} if max(ends, default=0) <= 12 else {})


def history(paths: Sequence[TrialPath], marked: Standings) -> Figure:
    """Draw every trial's value by its number, with the best value so far as a line."""
    scored = [path for path in paths if path.searched.value is not None]
    line = best_so_far(scored)
    steps = [*line, (max(path.number for path in scored), line[-1][1])] if line else []
    groups = (
        ("complete", COMPLETE, [path for path in scored if path.counts and path.number not in marked]),
        *marked_groups(scored, marked),
    )
    bottom, ends = score_axis([path.searched.value or 0.0 for path in scored if path.counts])
    others = [path for path in scored if not path.counts]
    traces: list[Trace] = [
        {
            "type": "scatter",
            "mode": "lines",
            "name": "best score so far",
            "x": [number for number, _ in steps],
            "y": [value for _, value in steps],
            "line": {"shape": "hv", "color": ACCENT, "width": 2},
            "hoverinfo": "skip",
        }
    ]
    traces += [strokes] if (strokes := rug(others, [path.number for path in others], bottom)) else []
    traces += [dots(name, marker, group, [path.number for path in group]) for name, marker, group in groups if group]
    layout = {
        "xaxis": {"title": {"text": "trial"}, **_whole_ticks([path.number for path in paths])},
        "yaxis": {"title": {"text": SCORE}, "range": ends},
        "showlegend": True,
    }
    return Figure("Each trial's value and the best so far", traces, layout, 380)


def marked_groups(paths: Sequence[TrialPath], marked: Standings) -> list[tuple[str, Trace, list[TrialPath]]]:
    """Return the groups of the winner and the best trial, of one trial each."""
    markers = {number: SECOND if i else FRONT for i, number in enumerate(marked)}
    return [(marked[path.number], markers[path.number], [path]) for path in paths if path.number in marked]


def dots(name: str, marker: Trace, paths: Sequence[TrialPath], x: Sequence[object]) -> Trace:
    """Return a group of trials as dots at these places and their scores."""
    return {
        "type": "scatter",
        "mode": "markers",
        "name": name,
        "x": list(x),
        "y": [path.searched.value for path in paths],
        "text": [f"trial {path.number}, {path.searched.state}" for path in paths],
        "marker": marker,
        "hovertemplate": "%{text}<br>%{y:.4f}<extra></extra>",
    }


def score_axis(values: Sequence[float]) -> tuple[float | None, list[float] | None]:
    """Return where the strokes of trials without a comparable score stand, and the ends of the axis.

    The axis is that of complete trials, `values`: between these lie the differences that matter. Of fewer than two it
    is that of all trials, which then stand at their last scores; both are None.
    """
    if len(values) < 2:
        return None, None
    room = 0.1 * (max(values) - min(values)) or 0.001
    return min(values) - 2 * room, [min(values) - 3 * room, max(values) + room]


def rug(paths: Sequence[TrialPath], x: Sequence[object], height: float | None) -> Trace | None:
    """Return trials as strokes at these places, all at one height if there is one; None without trials."""
    if not paths:
        return None
    texts = [f"trial {path.number}, {path.searched.state}, last {f1(path.searched.value)}" for path in paths]
    trace = dots("no comparable score", RUG, paths, x) | {"text": texts, "hovertemplate": "%{text}<extra></extra>"}
    return trace if height is None else trace | {"y": [height] * len(paths)}


def importances(importances: Importances) -> Figure:
    """Draw a bar for each knob, the largest on top."""
    shares = dict(reversed(importances.shares.items()))
    bars: Trace = {
        "type": "bar",
        "orientation": "h",
        "x": list(shares.values()),
        "y": [label(name) for name in shares],
        "marker": {"color": [MUTED] * (len(shares) - 1) + [ACCENT]},
        "text": [f"{share:.2f}" for share in shares.values()],
        "textposition": "outside",
        "cliponaxis": False,
        "hoverinfo": "skip",
    }
    layout = {
        "xaxis": {"visible": False, "rangemode": "tozero"},
        "yaxis": {"showgrid": False},
        "margin": {"t": 4, "b": 4},
    }
    return Figure("Share of the score's variation that each knob explains", [bars], layout, 20 + 28 * len(shares))


def parallel(paths: Sequence[TrialPath], marked: Standings, knobs: Sequence[str], log: frozenset[str]) -> Figure:
    """Draw each trial as a line through its knobs to its score, the best quarter darker, the marked one in front.

    Plotly's parallel coordinates need WebGL and are lost in print, hence ordinary lines.
    """
    scored = sorted((path for path in paths if path.counts), key=lambda path: path.searched.value or 0.0)
    axes = [_places([path.searched.knobs.get(name) for path in scored], log=name in log) for name in knobs]
    axes.append(_places([path.searched.value for path in scored], log=False))
    traces: list[Trace] = []
    for i, path in enumerate(scored):
        chosen, good = path.number == next(iter(marked), None), i >= 0.75 * len(scored)
        values = [f"{name} {label(setting(path.searched.knobs.get(name)))}" for name in knobs]
        traces.append(
            {
                "type": "scatter",
                "mode": "lines+markers",
                "x": list(range(len(axes))),
                "y": [heights[i] for heights, _ in axes],
                "line": {"color": ACCENT if chosen else MUTED if good else FAINT, "width": 3 if chosen else 1.2},
                "marker": {"size": 5},
                "text": [*values, f"macro F1 {f1(path.searched.value)}"],
                "hovertemplate": f"trial {path.number}<br>%{{text}}<extra></extra>",
            }
        )
    layout = {
        "xaxis": {
            "tickvals": list(range(len(axes))),
            "ticktext": [*map(label, knobs), "macro F1"],
            "side": "top",
            "showgrid": True,
        },
        "yaxis": {"visible": False, "range": [-0.12, 1.12]},
        "annotations": [_mark(x, height, text) for x, (_, marks) in enumerate(axes) for height, text in marks],
        "margin": {"t": 46, "b": 10, "l": 46, "r": 46},
    }
    title = "Each complete trial as a line through its knobs to its score"
    return Figure(title, traces, layout, 400, width=105 * len(axes))


def _mark(x: int, height: float, text: str) -> dict[str, Any]:
    position = {"xshift": 7, "xanchor": "left"} if 0 < height < 1 else {"yshift": 12 if height else -12}
    font = {"size": 11, "color": MUTED}
    return {"x": x, "y": height, "text": label(text), "showarrow": False, **position, "font": font}


def _places(values: Sequence[Scalar | None], *, log: bool) -> tuple[list[float | None], list[tuple[float, str]]]:
    """Return the heights from 0 to 1, by size for numbers and evenly for words, and the marks of the axis."""
    present = [value for value in values if value is not None]
    if any(isinstance(value, str | bool) for value in present):
        words = sorted({setting(value) for value in present})
        height = {word: i / max(1, len(words) - 1) for i, word in enumerate(words)}
        marks = [(place, word) for word, place in height.items() if len(words) <= WORDS_SHOWN or place in (0, 1)]
        return [None if value is None else height[setting(value)] for value in values], marks
    scale = math.log if log else float
    low, high = (end((value for value in present), key=float, default=1.0) for end in (min, max))
    span = scale(float(high)) - scale(float(low)) or 1.0
    heights = [None if value is None else (scale(float(value)) - scale(float(low))) / span for value in values]
    return heights, [(0, setting(low)), (1, setting(high))] if high != low else [(0, setting(low))]


def timeline(paths: Sequence[TrialPath], marked: Standings) -> Figure:
    """Draw when each trial ran, from its last start to its end, those side by side in lanes."""
    ran = sorted((path for path in paths if path.ran is not None), key=lambda path: path.ran or (0.0, 0.0))
    lanes: list[float] = []  # when each becomes free
    places = []
    for path in ran:
        assert path.ran is not None
        start, end = path.ran
        lane = next((lane for lane, free in enumerate(lanes) if free <= start + SAME_MOMENT), len(lanes))
        lanes[lane : lane + 1] = [end]
        places.append(lane)
    front = next(iter(marked), None)
    spans = [path.ran or (0.0, 0.0) for path in ran]
    bars: Trace = {
        "type": "bar",
        "orientation": "h",
        "base": [round(start / 60, 3) for start, _ in spans],
        "x": [round((end - start) / 60, 3) for start, end in spans],
        "y": [lane + 1 for lane in places],
        "marker": {
            "color": [ACCENT if path.number == front else MUTED if path.counts else FAINT for path in ran],
            "line": {"color": "var(--paper)", "width": 1},
        },
        "text": [
            f"trial {path.number}, {path.searched.state}<br>{(end - start) / 60:.1f} min"
            for path, (start, end) in zip(ran, spans, strict=True)
        ],
        "textposition": "none",
        "hovertemplate": "%{text}<extra></extra>",
    }
    layout = {
        "xaxis": {"title": {"text": "minutes since the first trial"}},
        "yaxis": {"title": {"text": "side by side"}, **_whole_ticks([len(lanes)]), "showgrid": False},
        "bargap": 0.2,
    }
    return Figure("When each trial ran", [bars], layout, 120 + 34 * min(len(lanes), 16))
