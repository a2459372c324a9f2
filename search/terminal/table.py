"""A table, independent of the output format; search/report/render.py prints it and writes it as Markdown."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, slots=True)
class Bar:
    """A cell that shows a share as a bar, `longest` characters for a share of 1. As a string it is a line of blocks."""

    share: float
    longest: int

    @property
    def length(self) -> int:
        """Return the length in characters."""
        return round(self.longest * self.share)

    def __str__(self) -> str:
        return "█" * self.length


Row = tuple[str | Bar, ...]
Mark = Literal["strong", "alarm"]


@dataclass(frozen=True, slots=True)
class Table:
    """Words and figures in rows. `marks` highlights cells (row, column); without rows only the caption is shown."""

    title: str  # only shown
    columns: tuple[str, ...] = ()
    rows: Sequence[Row] = ()
    caption: str = ""
    text_columns: frozenset[int] = frozenset({0})  # aligned left; the others hold figures
    marks: Mapping[tuple[int, int], Mark] = field(default_factory=dict)
    spare: tuple[int, ...] = ()  # columns that a narrow terminal omits, the most important first
    id: str = field(default="", kw_only=True)  # in a report: its name, and its anchor in the page
