"""The winner's knobs within the ranges of the study, and what lies at the end of its range, as tables."""

from collections.abc import Sequence

from search.report.chosen import Chosen, ChosenKnob
from search.report.facts import Report
from search.report.wider import Wider
from search.study.extension import Extension
from search.study.winner import WINNER
from search.terminal.table import Cell, Mark, Options, Row, Scale, Table
from search.terminal.wording import setting, settings


def chosen_table(report: Report) -> Table:
    """Return the knobs of the winner, or of the best trial so far, each with its value and its range."""
    if (chosen := report.chosen) is None:
        return Table("Knobs of the best trial so far", caption="There is none: no trial is complete.", id="knobs")
    width = max((len(setting(knob.low)) for knob in chosen.searched if knob.low is not None), default=0)
    rows: list[Row] = [(knob.name, setting(knob.value), _extent(knob, width)) for knob in chosen.searched]
    marks: dict[tuple[int, int], Mark] = {(i, 1): "strong" for i in range(len(rows))}
    columns = ("knob", "value", "range") if rows else ()
    return Table(_title(chosen), columns, rows, _caption(chosen), frozenset({0, 2}), marks, id="knobs")


def _title(chosen: Chosen) -> str:
    if chosen.standing == WINNER:
        return f"Knobs of the winner, trial {chosen.trial}"
    return f"Knobs of the best trial so far, trial {chosen.trial}: not confirmed"


def _caption(chosen: Chosen) -> str:
    searched = "" if chosen.searched else "The study searches no knob. "
    if not chosen.pinned:
        return f"{searched}Every other knob has its default."
    return f"{searched}Pinned: {settings(chosen.pinned)}. Every other knob has its default."


def _extent(knob: ChosenKnob, width: int) -> Cell:
    if knob.options:
        chosen = knob.options.index(knob.value) if knob.value in knob.options else -1
        return Options(tuple(map(setting, knob.options)), chosen)
    if knob.low is None or knob.high is None or (place := knob.place) is None:
        return "-"
    step = f"by {setting(knob.step)}" if knob.step is not None and knob.step != 1 else ""
    return Scale(setting(knob.low).rjust(width), setting(knob.high), place, "log" if knob.log else step)


def wider_table(wider: Wider) -> Table:
    """Return the sentences on values at the end of their range, with the command that searches wider."""
    how = "To go on in a wider range (with more --trials or --search-minutes, where these are used up):"
    caption = f"{wider.sentence} {how if wider.extends else 'The same run with a wider range, as a new study:'}"
    return Table("At the end of a range", caption=caption, code=wider.command, id="wider")


def space_table(extensions: Sequence[Extension]) -> Table | None:
    """Return the changes of the study's space, if there are any."""
    if not extensions:
        return None
    rows = [(str(one.trials), "; ".join(one.changes), ", ".join(map(str, one.outside)) or "none") for one in extensions]
    caption = "A trial outside the space stays on the record, and is no candidate."
    columns = ("from trial", "change of the space", "trials outside it")
    return Table("The study's space", columns, rows, caption, frozenset({1, 2}), id="space")
