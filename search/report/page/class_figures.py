"""Figures of the F1 of each class: of studies side by side, and the difference of each from a baseline."""

from collections.abc import Sequence

from search.report.page.figure import MUTED, Figure, Trace, label, look, rows
from search.study.records import Final

BAR, GAP, EDGES = 11, 14, 90  # pixels: of a bar, between classes, and of the axis with the legend
CLASSES_DRAWN = 30  # of more classes, those that differ most


def class_bars(names: Sequence[str], finals: Sequence[Final]) -> Figure:
    """Draw the F1 of each class as bars side by side, one of each study."""
    classes = _most_different(finals)
    shown = [label(finals[0].classes[i].name) for i in classes]
    traces = [
        _bars(name, place, shown, [final.classes[i].f1 for i in classes])
        for place, (name, final) in enumerate(zip(names, finals, strict=True))
    ]
    return _figure("F1 of each class, on the test split", traces, "F1", shown)


def class_differences(names: Sequence[str], finals: Sequence[Final]) -> Figure:
    """Draw by how much the F1 of each class is above that of the first study, one bar for each other study."""
    classes, (first, *others) = _most_different(finals), finals
    shown = [label(first.classes[i].name) for i in classes]
    traces = [
        _bars(name, place, shown, [final.classes[i].f1 - first.classes[i].f1 for i in classes], sign="+")
        for place, (name, final) in enumerate(zip(names[1:], others, strict=True), start=1)
    ]
    title = f"F1 of each class minus that of the baseline, {label(names[0])}"
    return _figure(title, traces, "F1 minus the baseline's", shown)


def _bars(name: str, place: int, classes: Sequence[str], values: Sequence[float], sign: str = "") -> Trace:
    return {
        "type": "bar",
        "orientation": "h",
        "name": label(name),
        "y": list(range(len(classes))),  # and not their names: shortened, two may be the same
        "x": [round(value, 5) for value in values],
        "text": list(classes),
        "textposition": "none",
        "marker": {"color": look(place).colour},
        "hovertemplate": f"%{{text}}, {label(name)}: %{{x:{sign}.4f}}<extra></extra>",
    }


def _figure(title: str, traces: list[Trace], axis: str, classes: Sequence[str]) -> Figure:
    height = GAP + BAR * len(traces)
    layout = {
        "xaxis": {"title": {"text": axis}, "nticks": 6, "zeroline": True, "zerolinecolor": MUTED},
        "yaxis": rows(classes),
        "showlegend": True,
        "bargap": GAP / height,
    }
    return Figure(title, traces, layout, EDGES + len(classes) * height)


def _most_different(finals: Sequence[Final]) -> list[int]:
    """Return the places of the classes to draw, in the order of the classes."""
    first, *others = finals
    spread = [max(abs(final.classes[i].f1 - score.f1) for final in others) for i, score in enumerate(first.classes)]
    return sorted(sorted(range(len(spread)), key=lambda i: -spread[i])[:CLASSES_DRAWN])
