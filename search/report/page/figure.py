"""A figure in Plotly's schema as plain data. Colours are names of the page's stylesheet, so that they follow its theme.

The accent marks the chosen trial, grey the others; blue and vermilion are from Okabe and Ito's palette, which
colour-blind people can tell apart.
"""

from dataclasses import dataclass, field
from html import escape
from typing import Any

from search.terminal.wording import visible

ACCENT, ALARM, INK, MUTED, LINE = "var(--accent)", "var(--alarm)", "var(--ink)", "var(--muted)", "var(--line)"
FAINT = "var(--faint)"  # for what is in the background
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
