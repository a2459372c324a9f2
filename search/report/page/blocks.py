"""The parts of the page as plain data, free of HTML: sections of blocks, and the facts that they are made from."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from search.report.baseline import Baseline
from search.report.chosen import ChosenKnob
from search.report.facts import Report
from search.report.page.figure import Figure
from search.report.page.knob_figures import ENOUGH_FOR_A_PAIR, is_ranged
from search.report.page.missing import Missing
from search.report.page.paths import TrialPath
from search.report.tables import tables
from search.study.predictions import Predictions
from search.study.winner import Standings
from search.terminal.table import Table


@dataclass(frozen=True)
class Picture:
    """A picture of a mistake."""

    address: str
    true: str
    predicted: str
    probability: str
    row: int


@dataclass(frozen=True)
class Matrix:
    """A confusion matrix as cells: (figure, share of its row in percent, whether it lies on the diagonal)."""

    names: Sequence[str]
    heads: Sequence[str]
    rows: Sequence[Sequence[tuple[int, float, bool]]]


@dataclass(frozen=True)
class Block:
    """A title and a sentence, followed by the parts that are set."""

    title: str
    text: str = ""
    figures: Sequence[Figure] = ()
    tables: Sequence[Table] = ()
    folded: Sequence[Table] = ()  # the data of the figures
    matrix: Matrix | None = None
    pictures: Sequence[Picture] = ()
    code: str = ""
    layout: Literal["", "grid"] = ""
    id: str = ""  # of the table that it shows, as a table or as a figure


@dataclass(frozen=True)
class Section:
    """A titled group of blocks."""

    key: str
    title: str
    blocks: Sequence[Block]


@dataclass(frozen=True, eq=False)
class Facts:
    """The data that the page is made from."""

    report: Report
    paths: Sequence[TrialPath]
    log: frozenset[str]  # knobs on a logarithmic scale
    predictions: Predictions | Missing
    pixels: NDArray[np.uint8] | Missing
    again: str | Missing  # the study as TOML
    winner: str | Missing  # its winner as TOML
    baseline: Baseline | None = None  # of the same test images

    @cached_property
    def tables(self) -> dict[str, Table]:
        """Return the tables of the report by id."""
        return {table.id: table for table in tables(self.report)}

    @property
    def declared(self) -> dict[str, ChosenKnob]:
        """Map the searched knobs to their ranges or options; none before a trial is complete."""
        chosen = self.report.chosen
        return {knob.name: knob for knob in chosen.searched} if chosen else {}

    @property
    def pair(self) -> tuple[str, str] | None:
        """Return the two numeric knobs that explain most of the score, if enough trials are complete to draw them."""
        complete = sum(path.counts for path in self.paths)
        shares = self.report.importances.shares  # largest first
        ranged = [name for name in shares if name in self.declared and is_ranged(self.declared[name])]
        return (ranged[0], ranged[1]) if len(ranged) > 1 and complete >= ENOUGH_FOR_A_PAIR else None

    @property
    def standings(self) -> Standings:
        """Map the winner and the best trial to these words; the first of them is highlighted."""
        return self.report.standings


def report_blocks(facts: Facts, *ids: str) -> Iterator[Block]:
    """Return a block for each of these tables that the report has."""
    return (table_block(facts.tables[id]) for id in ids if id in facts.tables)


def table_block(table: Table) -> Block:
    """Return a block with the table and its caption."""
    tables = [replace(table, caption="")] if table.rows else []
    return Block(table.title, table.caption, tables=tables, code=table.code, id=table.id)
