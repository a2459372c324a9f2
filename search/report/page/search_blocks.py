"""The page's section on the search: trials, curves and knobs. No torch."""

from collections.abc import Iterator, Sequence

from search.report.page import knob_figures, search_figures
from search.report.page.blocks import Block, Facts, report_blocks, table_block
from search.report.page.paths import Rung, TrialPath, rungs
from search.report.page.tables import curves_table, infeasible_table, knob_names, trials_table
from search.terminal.table import Table

BARS_DRAWN = 500  # the latest trials
CURVES_DRAWN = 400  # the best ones; more lines are indistinguishable


def search_blocks(facts: Facts) -> Iterator[Block]:
    """Return the blocks of the search: curves, values, knobs, tables."""
    yield _curves(facts)
    yield _history(facts)
    yield _importances(facts)
    yield from _knobs(facts)
    yield from _timeline(facts)
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
    text = (
        "The line rises at each complete trial with the best score so far. Strokes at the bottom are trials without a "
        "score that compares."
    )
    figure = search_figures.history(facts.paths, facts.standings)
    return Block(title, text, [figure], folded=folded)


def _timeline(facts: Facts) -> Iterator[Block]:
    ran = [path for path in facts.paths if path.ran is not None]
    if len(ran) > 1:
        text = "A bar is a trial from its last start to its end; trials side by side ran at once."
        yield Block("When trials ran", text, [search_figures.timeline(ran[-BARS_DRAWN:], facts.standings)])


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
    if facts.pair:
        text = (
            "Each dot is a complete trial, the better the bluer. The shade is the mean of the scores nearby; where no "
            "trial is near there is none."
        )
        figure = knob_figures.pair_of(facts.pair, facts.paths, facts.standings, facts.declared)
        yield Block("The two knobs that matter most", text, [figure])
    slices = [knob_figures.slice_of(name, facts.paths, facts.standings, facts.declared.get(name)) for name in knobs]
    text = (
        "Each dot is a complete trial. Strokes at the bottom are trials without a score that compares: pruned, over a "
        "limit, or outside a changed space. The pale line is the mean of the scores nearby."
    )
    yield Block("The knobs one by one", text, slices, layout="grid")
