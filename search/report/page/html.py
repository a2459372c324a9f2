"""A study as a self-contained HTML page: no network, no server, and all tables without JavaScript. No torch."""

import base64
import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment as Templates
from jinja2 import PackageLoader, StrictUndefined
from markupsafe import Markup
from numpy.typing import NDArray
from pydantic import ValidationError

from fmnist.atomic import write_in_place
from fmnist.errors import FmnistError
from search.errors import SearchError
from search.report.facts import Report, read_report
from search.report.page.blocks import Facts, Section
from search.report.page.missing import Missing
from search.report.page.paths import log_knobs, read_paths
from search.report.page.pictures import find_pixels
from search.report.page.sections import card, sections
from search.report.render import headline, warnings
from search.study.predictions import Predictions, predictions_path, read_predictions
from search.study.records import Final
from search.study.study import Study
from search.study.winner import winning_spec
from search.terminal.table import Bar, Cell, Options, Scale
from search.terminal.wording import visible

PAGE = "report.html"  # in the study's folder
CELLS: dict[str, type] = {"bar": Bar, "scale": Scale, "options": Options}  # kinds of cell, as the template names them


def write_page(study: Study, path: Path) -> Path:
    """Write the study's page to `path`, atomically.

    Raises: SearchError if the file cannot be written.
    """
    page = to_html(read_facts(study))
    try:
        write_in_place(path, page.encode())
    except OSError as error:
        raise SearchError(
            f"{path} must be writable: {error.strerror or error}. Free space there, or name another file."
        ) from error
    return path


def read_facts(study: Study) -> Facts:
    """Read the data of the page from the study, its folder, and the test images."""
    report = read_report(study)
    predictions = (
        Missing("There are no predictions yet.") if report.final is None else _predictions(study.folder, report.final)
    )
    return Facts(
        report=report,
        paths=read_paths(study),
        log=log_knobs(study),
        predictions=predictions,
        pixels=predictions if isinstance(predictions, Missing) else _pixels(report),
        again=_toml(lambda: study.spec.to_toml()),  # noqa: PLW0108  # reading the spec may fail as well
        winner=_toml(lambda: winning_spec(study).to_toml(is_short=True)),
    )


def _predictions(folder: Path, final: Final) -> Predictions | Missing:
    try:
        predictions = read_predictions(folder, final)
    except SearchError as error:
        return Missing(str(error))
    return predictions or Missing(
        f"The final models' predictions are not on this machine: there is no {predictions_path(folder)}."
    )


def _pixels(report: Report) -> NDArray[np.uint8] | Missing:
    return Missing("There is no record of the data.") if report.data is None else find_pixels(report.data, report.spec)


def _toml(write: Callable[[], str]) -> str | Missing:
    try:
        return write()
    except ValidationError:
        return Missing(
            "The study's settings were made by another version of fmnist-search and cannot be written as a study file."
        )
    except FmnistError as error:
        return Missing(str(error))


def to_html(facts: Facts) -> str:
    """Return the page. Names are escaped; its content security policy allows no other script and no request."""
    from plotly.offline import get_plotlyjs  # slow to import; most importers only need PAGE

    templates = Templates(
        loader=PackageLoader("search.report.page"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=True,
    )
    templates.filters["text"] = visible
    for name, kind in CELLS.items():
        templates.tests[name] = _is_a(kind)
    parts = sections(facts)
    own = (_part(templates, "figures.js"), _part(templates, "tables.js"))
    plotly, draw, handle = (script.replace("\r\n", "\n") for script in (get_plotlyjs(), *own))
    return templates.get_template("report.html.j2").render(
        title=facts.report.study,
        headline=headline(facts.report),
        warnings=warnings(facts.report),
        card=card(facts),
        sections=parts,
        style=Markup(_part(templates, "report.css")),
        plotly=Markup(plotly),
        draw=Markup(draw),
        handle=Markup(handle),
        hashes=[_hash(script) for script in (plotly, draw, handle)],
        drawn=_as_json(parts),
        has_figures=any(block.figures for section in parts for block in section.blocks),
    )


def _is_a(kind: type) -> Callable[[Cell], bool]:
    return lambda cell: isinstance(cell, kind)


def _part(templates: Templates, name: str) -> str:
    assert templates.loader is not None
    return templates.loader.get_source(templates, name)[0]


def _hash(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _as_json(parts: Sequence[Section]) -> Markup:
    """Map element ids to figures. Characters that could end the element or start a comment are escaped."""
    figures: dict[str, dict[str, Any]] = {
        f"{section.key}-{i}-{j}": {"data": figure.data, "layout": figure.layout}
        for section in parts
        for i, block in enumerate(section.blocks)
        for j, figure in enumerate(block.figures)
    }
    text = json.dumps(figures, allow_nan=False, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))
