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


@dataclass(frozen=True, slots=True)
class Scale:
    """A cell that shows where a value lies between two ends, 0 to 1. As a string it is a line with a dot."""

    low: str
    high: str
    place: float
    note: str = ""  # what kind of scale it is
    length: int = 16  # characters of the line

    def __str__(self) -> str:
        before = round((self.length - 1) * self.place)
        line = f"{'─' * before}●{'─' * (self.length - 1 - before)}"
        return " ".join(filter(None, (self.low, line, self.high, self.note)))


@dataclass(frozen=True, slots=True)
class Options:
    """A cell that lists options and marks the chosen one. As a string, that one is in brackets."""

    names: tuple[str, ...]
    chosen: int

    def __str__(self) -> str:
        return ", ".join(f"[{name}]" if i == self.chosen else name for i, name in enumerate(self.names))


Cell = str | Bar | Scale | Options
Row = tuple[Cell, ...]
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
    code: str = field(default="", kw_only=True)  # a command, below the caption
    id: str = field(default="", kw_only=True)  # in a report: its name, and its anchor in the page
