"""A table, free of any medium: report.py renders it for the terminal and as Markdown."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

Row = tuple[str, ...]
Mark = Literal["strong", "alarm"]
BETWEEN = 2  # columns, in characters
LONGEST_TEXT = 22  # characters; report.print_table breaks longer ones into lines


@dataclass(frozen=True, slots=True)
class Table:
    """Words and figures in rows. `marks` says which cells (row, column) stand out; a table without rows is its caption."""

    title: str
    columns: Row = ()
    rows: Sequence[Row] = ()
    caption: str = ""
    text_columns: frozenset[int] = frozenset({0})  # aligned left; the others hold figures
    marks: Mapping[tuple[int, int], Mark] = field(default_factory=dict)
    spare: tuple[int, ...] = ()  # columns that a narrow terminal goes without, the one most worth its room first


def fitted(table: Table, width: int) -> Table:
    """The table with as many of its spare columns as that many characters have room for; its caption names the others."""
    widths = [max(map(len, cells)) for cells in zip(table.columns, *table.rows, strict=True)]
    widths = [BETWEEN + (min(wide, LONGEST_TEXT) if i in table.text_columns else wide) for i, wide in enumerate(widths)]
    shown = [i for i in range(len(widths)) if i not in table.spare]
    left = width + 1 - sum(widths[i] for i in shown)  # one more, for after the last column there is only one blank
    for i in table.spare:
        if widths[i] <= left:
            shown.append(i)
            left -= widths[i]
    shown.sort()
    hidden = [head for i, head in enumerate(table.columns) if i not in shown]
    if not hidden:
        return table
    return replace(
        table,
        columns=tuple(table.columns[i] for i in shown),
        rows=[tuple(row[i] for i in shown) for row in table.rows],
        caption=f"{table.caption} No room for {', '.join(hidden)}: see --json, --csv or a wider terminal.".lstrip(),
        text_columns=frozenset(at for at, i in enumerate(shown) if i in table.text_columns),
        marks={(row, shown.index(i)): mark for (row, i), mark in table.marks.items() if i in shown},
        spare=(),
    )


def bar(share: float, longest: int) -> str:
    """A line of blocks, `longest` characters at a share of 1."""
    return "█" * round(longest * share)
