"""Figures of the F1 of each class: of studies side by side, and the difference of each from a baseline."""

from collections.abc import Sequence

from search.report.page.figure import LINE, Figure, Trace, label, look
from search.study.records import Final

BAR, GAP, EDGES = 11, 14, 90  # pixels: of a bar, between classes, and of the axis with the legend
CLASSES_DRAWN = 30  # of more classes, those that differ most


def class_bars(names: Sequence[str], finals: Sequence[Final]) -> Figure:
    """Draw the F1 of each class as bars side by side, one of each study."""
    classes = _most_different(finals)
    shown = [label(finals[0].classes[i].name) for i in classes]
    traces = [
        _bars(name, place, shown, [round(final.classes[i].f1, 5) for i in classes])
        for place, (name, final) in enumerate(zip(names, finals, strict=True))
    ]
    return _figure("F1 of each class, on the test split", traces, "F1 on the test split", len(classes), len(finals))


def class_differences(names: Sequence[str], finals: Sequence[Final]) -> Figure:
    """Draw by how much the F1 of each class is above that of the first study, one bar for each other study."""
    classes, (first, *others) = _most_different(finals), finals
    shown = [label(first.classes[i].name) for i in classes]
    traces = [
        _bars(name, place, shown, [round(final.classes[i].f1 - first.classes[i].f1, 5) for i in classes], sign="+")
        for place, (name, final) in enumerate(zip(names[1:], others, strict=True), start=1)
    ]
    title = f"F1 of each class minus that of {label(names[0])}"
    return _figure(title, traces, title, len(classes), len(others))


def _bars(name: str, place: int, classes: Sequence[str], values: Sequence[float], sign: str = "") -> Trace:
    return {
        "type": "bar",
        "orientation": "h",
        "name": label(name),
        "y": list(classes),
        "x": list(values),
        "marker": {"color": look(place).colour},
        "hovertemplate": f"%{{y}}, {label(name)}: %{{x:{sign}.4f}}<extra></extra>",
    }


def _figure(title: str, traces: list[Trace], axis: str, classes: int, bars: int) -> Figure:
    layout = {
        "xaxis": {"title": {"text": axis}, "zeroline": True, "zerolinecolor": LINE},
        "yaxis": {"type": "category", "autorange": "reversed", "showgrid": False},
        "showlegend": True,
        "bargap": GAP / (GAP + BAR * bars),
    }
    return Figure(title, traces, layout, EDGES + classes * (GAP + BAR * bars))


def _most_different(finals: Sequence[Final]) -> list[int]:
    """Return the places of the classes to draw, in the order of the classes."""
    first, *others = finals
    spread = [max(abs(final.classes[i].f1 - score.f1) for final in others) for i, score in enumerate(first.classes)]
    return sorted(sorted(range(len(spread)), key=lambda i: -spread[i])[:CLASSES_DRAWN])
