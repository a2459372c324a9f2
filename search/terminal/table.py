"""A table, free of any medium: search/report/render.py renders it for the terminal and as Markdown."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, slots=True)
class Bar:
    """A cell that shows a share as a line, `longest` characters at a share of 1. As a string it is a line of blocks."""

    share: float
    longest: int

    @property
    def length(self) -> int:
        """In characters."""
        return round(self.longest * self.share)

    def __str__(self) -> str:
        return "█" * self.length


Row = tuple[str | Bar, ...]
Mark = Literal["strong", "alarm"]


@dataclass(frozen=True, slots=True)
class Table:
    """Words and figures in rows. `marks` says which cells (row, column) stand out; a table without rows is its
    caption.
    """

    title: str  # shown, and used for nothing else
    columns: tuple[str, ...] = ()
    rows: Sequence[Row] = ()
    caption: str = ""
    text_columns: frozenset[int] = frozenset({0})  # aligned left; the others hold figures
    marks: Mapping[tuple[int, int], Mark] = field(default_factory=dict)
    spare: tuple[int, ...] = ()  # columns that a narrow terminal goes without, the one most worth its room first
    id: str = field(
        default="", kw_only=True
    )  # of a report's table: its name within the report, and its anchor in the page
