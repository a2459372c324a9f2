"""The sections of a study's page, in order, and the card above them. What is missing is replaced by the reason.

No torch.
"""

from collections.abc import Iterator
from dataclasses import replace

from search.report.front_table import costs_in_words
from search.report.page import result_figures
from search.report.page.blocks import Block, Facts, Section, report_blocks, table_block
from search.report.page.missing import Missing
from search.report.page.result_blocks import result_blocks
from search.report.page.search_blocks import search_blocks
from search.report.page.tables import brief
from search.study.records import Final
from search.terminal.wording import counted, duration, f1

BYTES = 4  # of a parameter in float32


def sections(facts: Facts) -> list[Section]:
    """Return all sections of the page, in order."""
    named = [
        Section("winner", _chosen_title(facts), list(_chosen(facts))),
        Section("result", "The result", list(result_blocks(facts))),
        Section("confirm", "Confirmed on fresh seeds", [_confirm(facts), *report_blocks(facts, "ablation")]),
        Section("search", "The path of the search", list(search_blocks(facts))),
        Section(
            "record",
            "On the record",
            list(report_blocks(facts, "openings", "minutes", "timing", "environment", "cleaning")),
        ),
        Section("again", "Run it again", list(_again(facts))),
    ]
    placed = {block.id for section in named for block in section.blocks}
    rest = [table_block(table) for table in facts.tables.values() if table.id not in placed]
    return [*named, Section("more", "More", rest)] if rest else named


def card(facts: Facts) -> list[tuple[str, str, str]]:
    """Return the (name, figure, remark) entries of the summary at the top of the page."""
    report, states = facts.report, facts.report.states
    trials = counted(states.complete + states.pruned + states.failed, "trial")
    ended = f"{states.complete} complete, {states.pruned} pruned, {states.failed} failed"
    ended += f"; {states.refused} more refused for a limit" if states.refused else ""
    entries = list(_final_card(report.final)) if report.final else [_unfinished_card(facts)]
    if report.front:
        entries.append(("Front", counted(len(report.front), "point"), costs_in_words(report.front)))
    entries.append(("Search", trials, ended))
    if report.timing.total:
        entries.append(("Time", duration(report.timing.total), "wall clock of search, confirm and final"))
    if report.openings:
        entries.append(("Date", report.openings[0].at[:10], "when the test split was opened"))
    if report.environments:
        last = report.environments[-1]
        entries.append(("Hardware", brief(last.device), brief(f"{last.processor}, {counted(last.cores, 'core')}")))
    return entries


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
    if (teachers := final.teachers) is not None:
        yield "Teachers", f1(teachers.mean), f"test macro F1 of the {len(teachers.runs)} networks that taught these"
    size = final.parameters * BYTES / 1e6
    yield "Network", f"{final.parameters:,}", f"parameters, {size:.2f} MB, {final.flops / 1e6:.1f} MFLOPs an image"


def _unfinished_card(facts: Facts) -> tuple[str, str, str]:
    report = facts.report
    for row in report.confirmed:
        if row.trial == report.winner and row.mean is not None:
            return "Winner", f1(row.mean), f"trial {row.trial}, mean of fresh seeds on validation, not tested"
    if (best := report.best_trial) is not None:
        return "Best trial so far", f1(best.value), f"trial {best.number}, on validation, not tested"
    return "Best trial so far", "-", "no trial is complete"


def _chosen_title(facts: Facts) -> str:
    return "The winner" if facts.report.winner is not None else "The best trial so far"


def _chosen(facts: Facts) -> Iterator[Block]:
    table = facts.tables["knobs"]
    yield Block(table.title, tables=[table], id=table.id) if table.rows else table_block(table)
    yield from report_blocks(facts, "wider")


def _confirm(facts: Facts) -> Block:
    report = facts.report
    title = "Candidates"
    if (table := facts.tables.get("confirmed")) is None:
        return Block(title, "No candidate was trained again yet: the confirm stage follows the search.")
    drawn = any(candidate.mean is not None for candidate in report.confirmed)
    figures = [result_figures.confirmation(report.confirmed, report.winner)] if drawn else []
    return replace(table_block(table), title=title, figures=figures)


def _again(facts: Facts) -> Iterator[Block]:
    for title, toml, name in (
        ("The study", facts.again, "study"),
        (f"{_chosen_title(facts)}, without a search", facts.winner, "winner"),
    ):
        if isinstance(toml, Missing):
            yield Block(title, toml.why)
        else:
            yield Block(title, f"Save as {name}.toml, then: fmnist-search run {name}.toml", code=toml)
