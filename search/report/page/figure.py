"""A figure in Plotly's schema as plain data. Colours are names of the page's stylesheet, so that they follow its theme.

The accent marks the chosen trial, grey the others; blue and vermilion are from Okabe and Ito's palette, which
colour-blind people can tell apart.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

from search.terminal.wording import visible

ACCENT, ALARM, INK, MUTED, LINE = "var(--accent)", "var(--alarm)", "var(--ink)", "var(--muted)", "var(--line)"
FAINT = "var(--faint)"  # for what is in the background
# Of several studies side by side: the first, with which the others are compared, is grey.
SERIES = (MUTED, ACCENT, "var(--amber)", "var(--green)", "var(--plum)", "var(--sky)")
SYMBOLS = ("circle", "diamond", "square", "triangle-up", "cross", "star")
DASHES = ("solid", "dash", "dot")
LONGEST_LABEL = 22  # characters
SCORE = "validation macro F1"
Trace = dict[str, Any]


@dataclass(frozen=True)
class Figure:
    """A figure for Plotly, with a text for screen readers."""

    label: str
    data: list[Trace]
    layout: dict[str, Any] = field(default_factory=dict)
    height: int = 380  # pixels
    width: int = 0  # minimum in pixels; narrower screens scroll sideways


def label(text: str) -> str:
    """Shorten the text for an axis, and escape the HTML that Plotly would interpret."""
    line = visible(text).replace("\n", " ").strip()
    return escape(line if len(line) <= LONGEST_LABEL else f"{line[: LONGEST_LABEL - 1]}…", quote=False)


def rows(labels: Sequence[str]) -> dict[str, Any]:
    """Return an axis with a row for each label, at 0, 1, ..., the first on top."""
    ends = [len(labels) - 0.5, -0.5]
    return {"tickvals": list(range(len(labels))), "ticktext": list(labels), "range": ends, "showgrid": False}


@dataclass(frozen=True)
class Look:
    """How one of several studies is drawn: beyond the colours, by symbol and dash, so that it can be told in print."""

    colour: str
    symbol: str
    dash: str


def look(index: int) -> Look:
    """Return the look of the study of that place; colours repeat after six, with another dash."""
    turn, place = divmod(index, len(SERIES))
    return Look(SERIES[place], SYMBOLS[place], DASHES[turn % len(DASHES)])
