"""The figures of the report as Plotly objects for a notebook, with fixed colours in place of the stylesheet's."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from fmnist.suggestions import did_you_mean
from search.errors import SearchError
from search.report.calibration import calibration
from search.report.page import knob_figures, result_figures, search_figures
from search.report.page.blocks import Facts
from search.report.page.figure import ACCENT, ALARM, FAINT, INK, LINE, MUTED, Figure
from search.report.page.front_figure import front_figure
from search.report.page.html import read_facts
from search.report.page.missing import Missing
from search.report.page.paths import rungs
from search.report.page.tables import knob_names
from search.study.study import Study

if TYPE_CHECKING:
    import plotly.graph_objects as go

COLOURS = {  # of the page's light theme
    **{ACCENT: "#0063b1", ALARM: "#b04300", INK: "#1c1d20", MUTED: "#63656c"},
    **{FAINT: "#c6c8ce", LINE: "#e4e4e7", "var(--paper)": "#ffffff"},
}


def plot(study: Study, name: str) -> "go.Figure":
    """Return the figure of that name, or of a searched knob.

    Raises: SearchError if the name is unknown, or there is nothing to draw yet.
    """
    import plotly.graph_objects as go

    facts = read_facts(study)
    knobs = knob_names(facts.paths)
    names = [*DRAWN, *knobs]
    if name not in names:
        raise SearchError(
            f"A figure must be {', '.join(DRAWN)}, or a searched knob; got {name!r}. {did_you_mean(name, names)}"
        )
    if name in DRAWN:
        figure = DRAWN[name](facts)
    else:
        figure = knob_figures.slice_of(name, facts.paths, facts.standings, facts.declared.get(name))
    if isinstance(figure, str):
        raise SearchError(f"There is nothing to draw of the study {study.name!r} yet: {figure}")
    layout = {"title": {"text": figure.label}, "height": figure.height, "template": "plotly_white"} | figure.layout
    return go.Figure(_coloured({"data": figure.data, "layout": layout}))


def _curves(facts: Facts) -> Figure | str:
    curved = [path for path in facts.paths if path.curve]
    if not curved:
        return "no trial has finished an epoch."
    return search_figures.curves(curved, facts.standings, rungs(curved, facts.report.spec))


def _history(facts: Facts) -> Figure | str:
    scored = any(path.searched.value is not None for path in facts.paths)
    return search_figures.history(facts.paths, facts.standings) if scored else "no trial has a value."


def _importances(facts: Facts) -> Figure | str:
    importances = facts.report.importances
    return f"{importances.absent}." if importances.absent else search_figures.importances(importances)


def _parallel(facts: Facts) -> Figure | str:
    complete, knobs = [path for path in facts.paths if path.counts], knob_names(facts.paths)
    if len(complete) < 2 or not knobs:
        return "it takes a searched knob and two complete trials."
    return search_figures.parallel(complete, facts.standings, knobs, facts.log)


def _confirmation(facts: Facts) -> Figure | str:
    report = facts.report
    if all(candidate.mean is None for candidate in report.confirmed):
        return "no candidate was trained again."
    return result_figures.confirmation(report.confirmed, report.winner)


def _reliability(facts: Facts) -> Figure | str:
    predictions = facts.predictions
    if isinstance(predictions, Missing):
        return predictions.why
    return result_figures.reliability(calibration(predictions.confidence, predictions.is_right))


def _confusion(facts: Facts) -> Figure | str:
    final = facts.report.final
    return "the test split was not opened." if final is None else result_figures.heatmap(final)


def _front(facts: Facts) -> Figure | str:
    return front_figure(facts) if facts.report.front else "the study has no tested front."


def _pair(facts: Facts) -> Figure | str:
    if facts.pair is None:
        return f"it takes two numeric knobs with importances, and {knob_figures.ENOUGH_FOR_A_PAIR} complete trials."
    return knob_figures.pair_of(facts.pair, facts.paths, facts.standings, facts.declared)


def _timeline(facts: Facts) -> Figure | str:
    ran = [path for path in facts.paths if path.ran is not None]
    return search_figures.timeline(ran, facts.standings) if ran else "no trial has ended."


DRAWN: dict[str, Callable[[Facts], Figure | str]] = {
    "history": _history,
    "curves": _curves,
    "importances": _importances,
    "parallel": _parallel,
    "pair": _pair,
    "timeline": _timeline,
    "confirmation": _confirmation,
    "reliability": _reliability,
    "confusion": _confusion,
    "front": _front,
}


def _coloured(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _coloured(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_coloured(item) for item in value]
    return COLOURS.get(value, value) if isinstance(value, str) else value
