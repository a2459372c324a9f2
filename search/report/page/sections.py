"""What the HTML page of a study holds, in its order, free of HTML: sections of blocks. What is missing says why. No
torch.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from search.report.calibration import calibration
from search.report.confusion import MATRIX_CLASSES, short_names
from search.report.facts import Report
from search.report.page import figures
from search.report.page.figures import Figure
from search.report.page.missing import Missing
from search.report.page.paths import Rung, TrialPath, rungs
from search.report.page.pictures import as_address
from search.report.page.tables import (
    brief,
    curves_table,
    infeasible_table,
    knob_names,
    pairs_table,
    reliability_table,
    trials_table,
)
from search.report.tables import tables
from search.study.predictions import Predictions, surest_mistakes
from search.study.records import Final
from search.terminal.table import Table
from search.terminal.wording import counted, duration, f1

MISTAKES_SHOWN = 40
CURVES_DRAWN = 400  # the best ones; more can be told apart by nobody
NO_FINAL = (
    "There is no final model yet: the command that began the study brings it to its end, and the test split is "
    "for then."
)


@dataclass(frozen=True)
class Picture:
    """A mistake to look at."""

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
    """One thing to look at: a sentence, then whatever of the rest there is."""

    title: str
    said: str = ""
    figures: Sequence[Figure] = ()
    tables: Sequence[Table] = ()
    behind: Sequence[Table] = ()  # folded up: the figures' figures
    matrix: Matrix | None = None
    pictures: Sequence[Picture] = ()
    code: str = ""
    layout: Literal["", "grid"] = ""
    id: str = ""  # of the table that it shows, in figures or in full


@dataclass(frozen=True)
class Section:
    """Blocks that belong together."""

    key: str
    title: str
    blocks: Sequence[Block]


@dataclass(frozen=True, eq=False)
class Facts:
    """All that the page is made from."""

    report: Report
    paths: Sequence[TrialPath]
    log: frozenset[str]  # knobs on a logarithmic scale
    predictions: Predictions | Missing
    pixels: NDArray[np.uint8] | Missing
    again: str | Missing  # the study as TOML, and below its winner
    winner: str | Missing

    @cached_property
    def tables(self) -> dict[str, Table]:
        """Those of the report, by their ids."""
        return {table.id: table for table in tables(self.report)}

    @property
    def best(self) -> int | None:
        """The trial to put in front: the confirmed winner, else the best of the search so far."""
        if self.report.winner is not None:
            return self.report.winner
        return next((row.number for row in self.report.best if row.feasible and row.state == "complete"), None)


def sections(facts: Facts) -> list[Section]:
    """The whole page below its head."""
    found = [
        Section("result", "The result", list(_result(facts))),
        Section("confirm", "Confirmed on fresh seeds", [_confirm(facts), *_of_report(facts, "ablation")]),
        Section("search", "The path of the search", list(_search(facts))),
        Section("record", "On the record", list(_of_report(facts, "openings", "timing", "environment", "cleaning"))),
        Section("again", "Run it again", list(_again(facts))),
    ]
    placed = {block.id for section in found for block in section.blocks}
    rest = [_of_table(table) for table in facts.tables.values() if table.id not in placed]
    return [*found, Section("more", "More", rest)] if rest else found


def card(facts: Facts) -> list[tuple[str, str, str]]:
    """(name, figure, remark) of what a reader looks for first."""
    report, last = facts.report, facts.report.environments[-1] if facts.report.environments else None
    ended = f"{report.states.complete} complete, {report.states.pruned} pruned, {report.states.failed} failed"
    ended += f"; {report.states.refused} more refused for a limit" if report.states.refused else ""
    trials = counted(sum((report.states.complete, report.states.pruned, report.states.failed)), "trial")
    found = list(_final_card(report.final)) if report.final else [_unfinished_card(facts)]
    found += [("Search", trials, ended)]
    if report.timing.total:
        found.append(("Time", duration(report.timing.total), "wall clock of search, confirm and final"))
    if last is not None:
        found.append(("Hardware", brief(last.device), brief(f"{last.processor}, {counted(last.cores, 'core')}")))
    return found


def _final_card(final: Final) -> Iterator[tuple[str, str, str]]:
    yield "Test macro F1", f1(final.mean), f"on {counted(final.test_images, 'image')}"
    yield (
        f"{100 * final.level:g} % interval",
        f"{f1(final.low)} to {f1(final.high)}",
        f"bootstrap, {final.resamples:,} resamples",
    )
    yield (
        "Seeds",
        str(len(final.runs)),
        "one seed has no spread" if final.sd is None else f"standard deviation {f1(final.sd)}",
    )
    yield "Network", f"{final.parameters:,}", f"parameters, {final.flops / 1e6:.1f} MFLOPs an image"


def _unfinished_card(facts: Facts) -> tuple[str, str, str]:
    for one in facts.report.best:
        if one.number == facts.best:
            return "Best so far", f1(one.value), f"trial {one.number}, on validation, not tested"
    return "Best so far", "-", "no trial is complete"


def _result(facts: Facts) -> Iterator[Block]:
    final = facts.report.final
    if final is None:
        yield Block("Not there yet", NO_FINAL)
        return
    yield from _of_report(facts, "final", "classes")
    yield _confusion(facts, final)
    yield _of_table(pairs_table(final))
    yield from _of_predictions(facts, final)


def _confusion(facts: Facts, final: Final) -> Block:
    table = facts.tables["confusion"]
    if len(final.classes) > MATRIX_CLASSES:
        said = (
            f"{len(final.classes)} classes, seed {final.exported_seed}: point at a cell for its figures; the most "
            "frequent are below."
        )
        return Block("Confusion", said, [figures.heatmap(final)], [table], id=table.id)
    rows = [
        [(n, round(100 * n / max(1, sum(row)), 1), i == j) for j, n in enumerate(row)]
        for i, row in enumerate(final.confusion)
    ]
    names = [one.name for one in final.classes]
    matrix = Matrix([brief(name) for name in names], [brief(head) for head in short_names(names)], rows)
    return Block("Confusion", table.caption, matrix=matrix, id=table.id)


def _of_predictions(facts: Facts, final: Final) -> Iterator[Block]:
    found = facts.predictions
    if isinstance(found, Missing):
        yield Block("Calibration and surest mistakes", found.why)
        return
    measured = calibration(found.confidence, found.is_right)
    leaning = float(found.confidence.mean()) - float(found.is_right.mean())
    said = (
        f"Expected calibration error {measured.error:.4f} over {counted(measured.images, 'test image')}, seed "
        f"{final.exported_seed}: by so "
        f"much its probabilities miss the share that is right, on average over {len(measured.bins)} bins of equal "
        "width. "
        f"It is {'too sure' if leaning > 0 else 'not sure enough'} by {abs(leaning):.4f} over all images."
    )
    yield Block("Calibration", said, [figures.reliability(measured)], behind=[reliability_table(measured)])
    yield _mistakes(facts, found, final)


def _mistakes(facts: Facts, found: Predictions, final: Final) -> Block:
    title, pixels = "Surest mistakes", facts.pixels
    mistakes = surest_mistakes(found, MISTAKES_SHOWN)
    if isinstance(pixels, Missing):
        return Block(title, pixels.why)
    if not mistakes:
        return Block(title, "There is no mistake on the test split.")
    names = [brief(one.name) for one in final.classes]
    pictures = [
        Picture(as_address(pixels[one.row]), names[one.true], names[one.predicted], f"{one.confidence:.1%}", one.row)
        for one in mistakes
    ]
    said = (
        f"The {counted(len(pictures), 'mistake')} of seed {final.exported_seed} with the highest probability. Some "
        "labels are arguable; "
        "nothing is scored here, and no choice may come of it."
    )
    return Block(title, said, pictures=pictures)


def _confirm(facts: Facts) -> Block:
    report = facts.report
    title = "Candidates"
    if (table := facts.tables.get("confirmed")) is None:
        return Block(title, "No candidate was trained again yet: that comes after the search.")
    drawn = any(one.mean is not None for one in report.confirmed)
    chart = [figures.confirmation(report.confirmed, report.winner)] if drawn else []
    return replace(_of_table(table), title=title, figures=chart)


def _search(facts: Facts) -> Iterator[Block]:
    yield _curves(facts)
    yield _history(facts)
    yield _importances(facts)
    yield from _knobs(facts)
    yield from _of_report(facts, "best", "states")
    yield _of_table(infeasible_table(facts.report, facts.paths))


def _curves(facts: Facts) -> Block:
    title = "Every trial, epoch by epoch"
    curved = [path for path in facts.paths if path.curve]
    if not curved:
        return Block(title, "No trial has finished an epoch yet.")
    drawn = _best_first(curved)[:CURVES_DRAWN]
    levels = rungs(curved, facts.report.spec)
    at = f" Dotted lines are where the pruner looks, with how many it ended: {_told(levels)}." if levels else ""
    ended = "" if levels else " None was pruned."
    cut = f" Of {len(curved):,} trials the best {CURVES_DRAWN} are drawn." if len(curved) > len(drawn) else ""
    front = (
        ""
        if facts.best is None
        else f"Trial {facts.best} is in front; complete trials are grey, pruned ones pale and end in a cross."
    )
    return Block(
        title,
        f"{front}{at}{ended}{cut}".strip(),
        [figures.curves(drawn, facts.best, levels)],
        behind=[curves_table(facts.paths)],
    )


def _told(levels: Sequence[Rung]) -> str:
    return ", ".join(f"{one.pruned} at epoch {one.epoch}" for one in levels)


def _best_first(paths: Sequence[TrialPath]) -> list[TrialPath]:
    return sorted(paths, key=lambda path: -(path.searched.value if path.searched.value is not None else -1.0))


def _history(facts: Facts) -> Block:
    title = "History"
    every = [trials_table(facts.paths, facts.best, id="every-trial")] if facts.paths else []
    if not any(path.searched.value is not None for path in facts.paths):
        return Block(title, "No trial has a value yet.", behind=every)
    if len(facts.paths) == 1:
        return Block(title, "The study has one trial: there was no search to follow.", behind=every)
    return Block(
        title,
        "The line rises where a complete trial was the best so far.",
        [figures.history(facts.paths, facts.best)],
        behind=every,
    )


def _importances(facts: Facts) -> Block:
    shares, table = facts.report.importances, facts.tables["importances"]
    if shares.absent:
        return _of_table(table)
    behind = Table("The shares", table.columns, table.rows, id="shares")
    return Block(table.title, table.caption, [figures.importances(shares)], behind=[behind], id=table.id)


def _knobs(facts: Facts) -> Iterator[Block]:
    knobs = knob_names(facts.paths)
    complete = [path for path in facts.paths if path.counts]
    if not knobs or len(complete) < 2:
        lacks = (
            "the study searches none"
            if facts.paths and not knobs
            else f"{len(complete)} of the 2 complete trials that it takes"
        )
        yield Block("The knobs together and one by one", f"Not drawn: {lacks}.")
        return
    moved = [name for name in knobs if len({path.searched.knobs.get(name) for path in complete}) > 1] or knobs
    drawn = _best_first(complete)[:CURVES_DRAWN]
    told = "Each line is a complete trial, from knob to knob to its score; the best quarter is darker."
    behind = [trials_table(complete, facts.best, id="complete-trials")]
    yield Block("The knobs together", told, [figures.parallel(drawn, facts.best, moved, facts.log)], behind=behind)
    slices = [figures.slice_of(name, facts.paths, facts.best, log=name in facts.log) for name in knobs]
    yield Block("The knobs one by one", "A dot is a trial; crosses are pruned or over a limit.", slices, layout="grid")


def _again(facts: Facts) -> Iterator[Block]:
    for title, found, name in (
        ("The study", facts.again, "study"),
        ("The winner, without a search", facts.winner, "winner"),
    ):
        if isinstance(found, Missing):
            yield Block(title, found.why)
        else:
            yield Block(title, f"Save as {name}.toml, then: fmnist-search run {name}.toml", code=found)


def _of_report(facts: Facts, *ids: str) -> Iterator[Block]:
    """The tables of those ids, as far as the report has them."""
    return (_of_table(facts.tables[id]) for id in ids if id in facts.tables)


def _of_table(table: Table) -> Block:
    return Block(table.title, table.caption, tables=[replace(table, caption="")] if table.rows else [], id=table.id)
