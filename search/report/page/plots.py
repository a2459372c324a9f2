"""A figure of the report as an object of Plotly's, for a notebook; in colours of its own, as no stylesheet is there."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from fmnist.suggestions import did_you_mean
from search.errors import SearchError
from search.report.calibration import calibration
from search.report.page import figures
from search.report.page.html import read_facts
from search.report.page.missing import Missing
from search.report.page.paths import rungs
from search.report.page.sections import Facts
from search.report.page.tables import knob_names
from search.study.study import Study

if TYPE_CHECKING:
    import plotly.graph_objects as go

COLOURS = {  # of the page's light theme
    **{figures.ACCENT: "#0063b1", figures.ALARM: "#b04300", figures.INK: "#1c1d20", figures.MUTED: "#63656c"},
    **{figures.FAINT: "#c6c8ce", figures.LINE: "#e4e4e7", "var(--paper)": "#ffffff"},
}


def plot(study: Study, name: str) -> "go.Figure":
    """The figure of that name.

    Raises: SearchError where there is none of that name, or nothing to draw yet.
    """
    import plotly.graph_objects as go

    facts = read_facts(study)
    knobs = knob_names(facts.paths)
    known = [*DRAWN, *knobs]
    if name not in known:
        raise SearchError(
            f"A figure must be {', '.join(DRAWN)}, or a searched knob; got {name!r}. {did_you_mean(name, known)}"
        )
    drawn = (
        DRAWN[name](facts) if name in DRAWN else figures.slice_of(name, facts.paths, facts.best, log=name in facts.log)
    )
    if isinstance(drawn, str):
        raise SearchError(f"There is nothing to draw of the study {study.name!r} yet: {drawn}")
    layout = {"title": {"text": drawn.label}, "height": drawn.height, "template": "plotly_white"} | drawn.layout
    return go.Figure(_coloured({"data": drawn.data, "layout": layout}))


def _curves(facts: Facts) -> figures.Figure | str:
    curved = [path for path in facts.paths if path.curve]
    return (
        figures.curves(curved, facts.best, rungs(curved, facts.report.spec))
        if curved
        else "no trial has finished an epoch."
    )


def _history(facts: Facts) -> figures.Figure | str:
    scored = any(path.searched.value is not None for path in facts.paths)
    return figures.history(facts.paths, facts.best) if scored else "no trial has a value."


def _importances(facts: Facts) -> figures.Figure | str:
    found = facts.report.importances
    return f"{found.absent}." if found.absent else figures.importances(found)


def _parallel(facts: Facts) -> figures.Figure | str:
    complete, knobs = [path for path in facts.paths if path.counts], knob_names(facts.paths)
    enough = len(complete) > 1 and knobs
    return (
        figures.parallel(complete, facts.best, knobs, facts.log)
        if enough
        else "it takes a searched knob and two complete trials."
    )


def _confirmation(facts: Facts) -> figures.Figure | str:
    report = facts.report
    drawn = any(one.mean is not None for one in report.confirmed)
    return figures.confirmation(report.confirmed, report.winner) if drawn else "no candidate was trained again."


def _reliability(facts: Facts) -> figures.Figure | str:
    found = facts.predictions
    return (
        found.why if isinstance(found, Missing) else figures.reliability(calibration(found.confidence, found.is_right))
    )


def _confusion(facts: Facts) -> figures.Figure | str:
    final = facts.report.final
    return "the test split was not opened." if final is None else figures.heatmap(final)


DRAWN: dict[str, Callable[[Facts], figures.Figure | str]] = {
    "history": _history,
    "curves": _curves,
    "importances": _importances,
    "parallel": _parallel,
    "confirmation": _confirmation,
    "reliability": _reliability,
    "confusion": _confusion,
}


def _coloured(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _coloured(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_coloured(each) for each in value]
    return COLOURS.get(value, value) if isinstance(value, str) else value
