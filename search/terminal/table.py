"""A table, free of any medium: report.py renders it for the terminal and as Markdown."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

Row = tuple[str, ...]
Mark = Literal["strong", "alarm"]


@dataclass(frozen=True, slots=True)
class Table:
    """Words and figures in rows. `marks` says which cells (row, column) stand out; a table without rows is its caption."""

    title: str  # shown, and used for nothing else
    columns: Row = ()
    rows: Sequence[Row] = ()
    caption: str = ""
    text_columns: frozenset[int] = frozenset({0})  # aligned left; the others hold figures
    marks: Mapping[tuple[int, int], Mark] = field(default_factory=dict)
    spare: tuple[int, ...] = ()  # columns that a narrow terminal goes without, the one most worth its room first
    id: str = field(default="", kw_only=True)  # of a report's table: its name within the report, and its anchor in the page


def bar(share: float, longest: int) -> str:
    """A line of blocks, `longest` characters at a share of 1."""
    return "█" * round(longest * share)
