"""The tables that only the page has: those behind its figures, and what is too long for a terminal. No torch."""

from collections.abc import Sequence
from itertools import chain

from search.report.calibration import Calibration
from search.report.facts import Report, hardest_pairs
from search.report.page.paths import TrialPath
from search.study.records import Final
from search.terminal.table import Bar, Mark, Row, Table
from search.terminal.wording import counted, f1, setting, visible

ROWS_SHOWN = 1000
PAIRS_SHOWN = 15
LONGEST_NAME = 60  # characters; the table of the classes has names whole
LONGEST_BAR = 16


def brief(name: str) -> str:
    """A class's name on one line, cut where it would fill the page."""
    seen = visible(name).replace("\n", " ").strip()
    return seen if len(seen) <= LONGEST_NAME else f"{seen[: LONGEST_NAME - 1]}…"


def knob_names(paths: Sequence[TrialPath]) -> list[str]:
    """All knobs that some trial searched, in the order in which they came."""
    return list(dict.fromkeys(chain.from_iterable(path.searched.knobs for path in paths)))


def trials_table(paths: Sequence[TrialPath], best: int | None, *, id: str) -> Table:
    """Each trial with its value, its configuration and why it ended early."""
    knobs = knob_names(paths)
    shown = paths[:ROWS_SHOWN]
    rows = [
        (
            str(path.number),
            path.searched.state,
            f1(path.searched.value),
            *(setting(path.searched.knobs[name]) if name in path.searched.knobs else "-" for name in knobs),
            path.reason or "",
        )
        for path in shown
    ]
    marks: dict[tuple[int, int], Mark] = {
        (i, j): "strong" for i, path in enumerate(shown) if path.number == best for j in (0, 2)
    }
    columns = ("trial", "state", "macro F1", *knobs, "ended early because")
    return Table("Every trial", columns, rows, _cut(paths), frozenset({1, len(columns) - 1}), marks, id=id)


def curves_table(paths: Sequence[TrialPath]) -> Table:
    """Each trial's score after each of its epochs."""
    shown = [path for path in paths if path.curve]
    rows = [
        (str(path.number), path.searched.state, ", ".join(f1(value) for _, value in path.curve))
        for path in shown[:ROWS_SHOWN]
    ]
    columns = ("trial", "state", "macro F1 after each epoch")
    return Table("Every curve", columns, rows, _cut(shown), frozenset({1, 2}), id="curves")


def _cut(paths: Sequence[TrialPath]) -> str:
    return f"The first {ROWS_SHOWN:,} of {len(paths):,} trials." if len(paths) > ROWS_SHOWN else ""


def infeasible_table(report: Report, paths: Sequence[TrialPath]) -> Table:
    """The trials over a limit, and whether they were trained all the same; or, in a sentence, that there are none."""
    said = ", ".join(f"{name} {limit:,}" for name, limit in report.limits.items())
    stated = f"The study's limits: {said}." if said else "The study sets no limit to a network's size or latency."
    found = [path for path in paths if path.over or path.is_refused]
    rows = [
        (
            str(path.number),
            ", ".join(path.over) or "-",
            "no" if path.is_refused else "yes",
            f1(path.searched.value),
            path.reason or "",
        )
        for path in found[:ROWS_SHOWN]
    ]
    summary = f"{counted(len(found), 'infeasible trial')}." if found else "No trial is infeasible."
    columns = ("trial", "over", "trained", "macro F1", "why") if rows else ()
    return Table(
        "Limits and infeasible trials", columns, rows, f"{stated} {summary}", frozenset({1, 2, 4}), id="infeasible"
    )


def pairs_table(final: Final) -> Table:
    """The pairs of classes that the exported model takes for each other most often, both ways."""
    pairs, names = hardest_pairs(final, PAIRS_SHOWN), [brief(one.name) for one in final.classes]
    most = max((pair.together for pair in pairs), default=1)
    rows: list[Row] = [
        (
            names[p.one],
            names[p.other],
            f"{p.one_as_other:,}",
            f"{p.other_as_one:,}",
            f"{p.together:,}",
            Bar(p.together / most, LONGEST_BAR),
        )
        for p in pairs
    ]
    wrong = sum(sum(row) - row[i] for i, row in enumerate(final.confusion))
    share = sum(pair.together for pair in pairs) / wrong if wrong else 0.0
    caption = (
        f"These pairs hold {share:.0%} of the {wrong:,} mistakes of seed {final.exported_seed}."
        if rows
        else "No mistake."
    )
    columns = ("one", "other", "one taken for other", "other taken for one", "together", "")
    return Table("Hardest classes, pair by pair", columns, rows, caption, frozenset({0, 1, 5}), id="pairs")


def reliability_table(found: Calibration) -> Table:
    """The bins of the reliability diagram."""
    rows = [
        (
            f"{one.low:.3f} to {one.high:.3f}",
            f"{one.images:,}",
            "-" if one.confidence is None else f"{one.confidence:.4f}",
            "-" if one.accuracy is None else f"{one.accuracy:.4f}",
        )
        for one in found.bins
    ]
    return Table("The bins", ("probability", "images", "mean probability", "share that is right"), rows, id="bins")
