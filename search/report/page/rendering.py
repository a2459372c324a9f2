"""A page as one self-contained HTML file: no network, no server, and all tables without JavaScript. No torch."""

import base64
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment as Templates
from jinja2 import PackageLoader, StrictUndefined
from markupsafe import Markup

from fmnist.atomic import write_in_place
from search.errors import SearchError
from search.report.page.blocks import Section
from search.terminal.table import Bar, Cell, Options, Scale
from search.terminal.wording import visible

CELLS: dict[str, type] = {"bar": Bar, "scale": Scale, "options": Options}  # kinds of cell, as the template names them


@dataclass(frozen=True)
class Page:
    """What a page says, from top to bottom."""

    kind: str  # of page, above its title
    title: str
    headline: str
    warnings: Sequence[str]
    card: Sequence[tuple[str, str, str]]  # name, figure, remark
    sections: Sequence[Section]
    source: str  # what it is made from


def write_html(page: Page, path: Path) -> Path:
    """Write the page to `path`, atomically.

    Raises: SearchError if the file cannot be written.
    """
    try:
        write_in_place(path, render(page).encode())
    except OSError as error:
        raise SearchError(
            f"{path} must be writable: {error.strerror or error}. Free space there, or name another file."
        ) from error
    return path


def render(page: Page) -> str:
    """Return the page. Names are escaped; its content security policy allows no other script and no request."""
    from plotly.offline import get_plotlyjs  # slow to import; most importers need no page

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
    own = (_part(templates, "figures.js"), _part(templates, "tables.js"))
    plotly, draw, handle = (script.replace("\r\n", "\n") for script in (get_plotlyjs(), *own))
    return templates.get_template("report.html.j2").render(
        page=page,
        style=Markup(_part(templates, "report.css")),
        plotly=Markup(plotly),
        draw=Markup(draw),
        handle=Markup(handle),
        hashes=[_hash(script) for script in (plotly, draw, handle)],
        drawn=_as_json(page.sections),
        has_figures=any(block.figures for section in page.sections for block in section.blocks),
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
