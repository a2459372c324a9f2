"""Figures of the knobs of a search: the score over one of them, and over the two that matter most."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fmnist.knobs import Scalar
from search.report.chosen import ChosenKnob
from search.report.page.figure import ACCENT, FAINT, MUTED, Figure, Trace, label
from search.report.page.paths import TrialPath
from search.report.page.search_figures import COMPLETE, FRONT, dots, marked_groups, rug, score_axis
from search.study.winner import Standings
from search.terminal.wording import f1, setting

ENOUGH_FOR_A_TREND = 8  # complete trials
ENOUGH_FOR_A_PAIR = 10
WIDTH = 0.15  # of the range, over which a trend is averaged
NEAR = 0.3  # of the weight of one trial at its own place; where there is less, nothing is said
GRID = 28  # points each way
SHADES = [[0, FAINT], [1, ACCENT]]


def slice_of(name: str, paths: Sequence[TrialPath], marked: Standings, declared: ChosenKnob | None) -> Figure:
    """Draw the score of complete trials over one knob in its range; the other trials are strokes at the bottom."""
    tried = [path for path in paths if path.searched.value is not None and path.searched.knobs.get(name) is not None]
    complete = [path for path in tried if path.counts]
    bottom, ends = score_axis([path.searched.value or 0.0 for path in complete])
    groups = (
        ("complete", COMPLETE, [path for path in complete if path.number not in marked]),
        *marked_groups(complete, marked),
    )
    others = [path for path in tried if not path.counts]
    traces = [
        _trend(name, complete, declared),
        rug(others, [_shown(path.searched.knobs[name]) for path in others], bottom),
    ]
    traces += [
        dots(kind, marker, group, [_shown(path.searched.knobs[name]) for path in group])
        for kind, marker, group in groups
    ]
    layout = {
        "xaxis": {"title": {"text": label(name)}, "tickangle": 0, **_axis(name, tried, declared)},
        "yaxis": {"range": ends, "nticks": 5},
        "margin": {"l": 48, "r": 22, "t": 10, "b": 46},
    }
    return Figure(f"Score over {name}", [trace for trace in traces if trace is not None], layout, 240)


def pair_of(
    names: tuple[str, str], paths: Sequence[TrialPath], marked: Standings, declared: Mapping[str, ChosenKnob]
) -> Figure:
    """Draw complete trials over two numeric knobs, the better the bluer, on a local mean of their scores."""

    def has_both(path: TrialPath) -> bool:
        return all(path.searched.knobs.get(name) is not None for name in names)

    complete = [path for path in paths if path.counts and has_both(path)]
    first, second = (declared[name] for name in names)
    values = np.array([path.searched.value or 0.0 for path in complete])
    scale = {"cmin": float(values.min()), "cmax": float(values.max()), "colorscale": SHADES}
    x, y = ([path.searched.knobs[name] for path in complete] for name in names)
    places = np.array([[_place(knob, value) for value in each] for knob, each in ((first, x), (second, y))])
    chosen = [path.number == next(iter(marked), None) for path in complete]
    traces: list[Trace] = [
        {
            "type": "contour",
            "x": _spread(first).tolist(),
            "y": _spread(second).tolist(),
            "z": _landscape(places, values),
            "zmin": scale["cmin"],
            "zmax": scale["cmax"],
            "colorscale": SHADES,
            "opacity": 0.35,
            "contours": {"coloring": "heatmap", "showlines": False},
            "showscale": False,
            "hoverinfo": "skip",
        },
        {
            "type": "scatter",
            "mode": "markers",
            "x": x,
            "y": y,
            "text": [f"trial {path.number}<br>macro F1 {f1(path.searched.value)}" for path in complete],
            "marker": {
                **scale,
                "color": values.tolist(),
                "size": [FRONT["size"] if each else COMPLETE["size"] + 2 for each in chosen],
                "line": {"color": MUTED, "width": [2 if each else 0.5 for each in chosen]},
            },
            "hovertemplate": f"%{{text}}<br>{label(names[0])} %{{x}}<br>{label(names[1])} %{{y}}<extra></extra>",
        },
    ]
    layout = {
        "xaxis": {"title": {"text": label(names[0])}, **_axis(names[0], complete, first)},
        "yaxis": {"title": {"text": label(names[1])}, **_axis(names[1], complete, second)},
    }
    return Figure(f"Score over {names[0]} and {names[1]}", traces, layout, 420)


def is_ranged(knob: ChosenKnob) -> bool:
    """Whether the knob is a number with a range."""
    return knob.low is not None and knob.high is not None and knob.low < knob.high


def _trend(name: str, paths: Sequence[TrialPath], declared: ChosenKnob | None) -> Trace | None:
    if declared is None or not is_ranged(declared) or len(paths) < ENOUGH_FOR_A_TREND:
        return None
    places = np.array([_place(declared, path.searched.knobs[name]) for path in paths])
    values = np.array([path.searched.value or 0.0 for path in paths])
    weights = np.exp(-0.5 * ((_steps()[:, None] - places) / WIDTH) ** 2)
    inside = weights.sum(axis=1) >= NEAR
    means = (weights @ values)[inside] / weights.sum(axis=1)[inside]
    return {
        "type": "scatter",
        "mode": "lines",
        "name": "local mean",
        "x": _spread(declared)[inside].tolist(),
        "y": means.round(5).tolist(),
        "line": {"color": FAINT, "width": 3},
        "hoverinfo": "skip",
    }


def _landscape(places: NDArray[np.float64], values: NDArray[np.float64]) -> list[list[float | None]]:
    """Return the local mean at each point of the grid, None far from every trial.

    Shape: [2, N], [N] -> [GRID, GRID].
    """
    grid = np.stack(np.meshgrid(_steps(), _steps()), axis=-1)  # [GRID, GRID, 2]
    distances = np.square(grid[:, :, None] - places.T).sum(axis=-1)  # [GRID, GRID, N]
    weights = np.exp(-0.5 * distances / WIDTH**2)
    total = weights.sum(axis=-1)
    means = (weights @ values) / np.maximum(total, 1e-12)
    return [
        [round(float(mean), 5) if near >= NEAR else None for mean, near in zip(row, nears, strict=True)]
        for row, nears in zip(means, total, strict=True)
    ]


def _steps() -> NDArray[np.float64]:
    return np.linspace(0, 1, GRID)


def _spread(knob: ChosenKnob) -> NDArray[np.float64]:
    """Return values over the range of the knob, evenly on its scale."""
    assert knob.low is not None
    assert knob.high is not None
    if knob.log:
        return np.exp(np.linspace(math.log(knob.low), math.log(knob.high), GRID))
    return np.linspace(knob.low, knob.high, GRID)


def _place(knob: ChosenKnob, value: Scalar | None) -> float:
    place = knob.model_copy(update={"value": value}).place
    assert place is not None
    return place


def _axis(name: str, paths: Sequence[TrialPath], declared: ChosenKnob | None) -> dict[str, Any]:
    """Return the type of an axis, its ends, which are those of the declared range, and round ticks."""
    if declared is not None and is_ranged(declared):
        return _ranged_axis(declared)
    options = declared.options if declared is not None and declared.options else ()
    words = options or [path.searched.knobs[name] for path in paths]
    if any(isinstance(value, str | bool) for value in words):
        order = {"categoryorder": "array", "categoryarray": [_shown(value) for value in options]} if options else {}
        return {"type": "category", **order}
    return {"tickvals": list(options)} if options else {"nticks": 5}


def _ranged_axis(knob: ChosenKnob) -> dict[str, Any]:
    low, high = float(knob.low or 0), float(knob.high or 0)
    if not knob.log:
        room = 0.05 * (high - low)
        ticks = sorted({low, high, _rounded((low + high) / 2, high - low)})
        return {"range": [low - room, high + room], "tickvals": ticks, "ticktext": [setting(tick) for tick in ticks]}
    ends = math.log10(low), math.log10(high)
    room = 0.05 * (ends[1] - ends[0])
    middle = math.sqrt(low * high)
    ticks = sorted({low, high, _rounded(middle, 10 * middle)})  # to one digit
    texts = [setting(tick) for tick in ticks]
    return {"type": "log", "range": [ends[0] - room, ends[1] + room], "tickvals": ticks, "ticktext": texts}


def _rounded(value: float, extent: float) -> float:
    """Return the value with as few digits as tell it apart over that extent."""
    digits = 1 - math.floor(math.log10(abs(extent)))
    return round(value, digits)


def _shown(value: Scalar | None) -> Scalar | None:
    return label(setting(value)) if isinstance(value, str | bool) else value
