"""The page's section on the search: trials, curves and knobs. No torch."""

from collections.abc import Iterator, Sequence

from search.report.page import search_figures
from search.report.page.blocks import Block, Facts, report_blocks, table_block
from search.report.page.paths import Rung, TrialPath, rungs
from search.report.page.tables import curves_table, infeasible_table, knob_names, trials_table
from search.terminal.table import Table

CURVES_DRAWN = 400  # the best ones; more lines are indistinguishable


def search_blocks(facts: Facts) -> Iterator[Block]:
    """Return the blocks of the search: curves, values, knobs, tables."""
    yield _curves(facts)
    yield _history(facts)
    yield _importances(facts)
    yield from _knobs(facts)
    yield from report_blocks(facts, "best", "states", "space")
    yield table_block(infeasible_table(facts.report, facts.paths))


def _curves(facts: Facts) -> Block:
    title = "Every trial, epoch by epoch"
    curved = [path for path in facts.paths if path.curve]
    if not curved:
        return Block(title, "No trial has finished an epoch yet.")
    drawn = _best_first(curved)[:CURVES_DRAWN]
    levels = rungs(curved, facts.report.spec)
    sentences = [_pruning(levels)]
    for number, word in list(facts.standings.items())[:1]:
        colours = "complete trials are grey, pruned ones pale and end in a cross"
        sentences.insert(0, f"Trial {number}, the {word}, is in front; {colours}.")
    if len(curved) > len(drawn):
        sentences.append(f"Only the best {CURVES_DRAWN} of {len(curved):,} trials are drawn.")
    figure = search_figures.curves(drawn, facts.standings, levels)
    return Block(title, " ".join(sentences), [figure], folded=[curves_table(facts.paths)])


def _pruning(levels: Sequence[Rung]) -> str:
    if not levels:
        return "None was pruned."
    counts = ", ".join(f"{rung.pruned} at epoch {rung.epoch}" for rung in levels)
    return f"Dotted lines mark epochs after which trials were pruned, with their number: {counts}."


def _best_first(paths: Sequence[TrialPath]) -> list[TrialPath]:
    return sorted(paths, key=lambda path: -(path.searched.value if path.searched.value is not None else -1.0))


def _history(facts: Facts) -> Block:
    title = "History"
    folded = [trials_table(facts.paths, facts.standings, id="every-trial")] if facts.paths else []
    if not any(path.searched.value is not None for path in facts.paths):
        return Block(title, "No trial has a value yet.", folded=folded)
    if len(facts.paths) == 1:
        return Block(title, "The study has one trial: there was no search.", folded=folded)
    figure = search_figures.history(facts.paths, facts.standings)
    return Block(title, "The line rises at each complete trial with the best score so far.", [figure], folded=folded)


def _importances(facts: Facts) -> Block:
    importances, table = facts.report.importances, facts.tables["importances"]
    if importances.absent:
        return table_block(table)
    folded = Table("The shares", table.columns, table.rows, id="shares")
    return Block(table.title, table.caption, [search_figures.importances(importances)], folded=[folded], id=table.id)


def _knobs(facts: Facts) -> Iterator[Block]:
    knobs = knob_names(facts.paths)
    complete = [path for path in facts.paths if path.counts]
    if not knobs or len(complete) < 2:
        searches_none = bool(facts.paths) and not knobs
        reason = "the study searches none" if searches_none else f"{len(complete)} of the 2 complete trials needed"
        yield Block("The knobs together and one by one", f"Not drawn: {reason}.")
        return
    varied = [name for name in knobs if len({path.searched.knobs.get(name) for path in complete}) > 1] or knobs
    drawn = _best_first(complete)[:CURVES_DRAWN]
    text = "Each line is a complete trial, from knob to knob to its score; the best quarter is darker."
    figure = search_figures.parallel(drawn, facts.standings, varied, facts.log)
    folded = [trials_table(complete, facts.standings, id="complete-trials")]
    yield Block("The knobs together", text, [figure], folded=folded)
    slices = [search_figures.slice_of(name, facts.paths, facts.standings, log=name in facts.log) for name in knobs]
    text = "Each mark is a trial; crosses are pruned, over a limit, or outside a changed space."
    yield Block("The knobs one by one", text, slices, layout="grid")
