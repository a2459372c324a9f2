"""The tables that only the page has: the data of its figures, and tables too long for a terminal. No torch."""

from collections.abc import Sequence
from itertools import chain

from search.report.calibration import Calibration
from search.report.confusion import hardest_pairs
from search.report.facts import Report
from search.report.page.paths import TrialPath
from search.study.records import Final
from search.study.winner import Standings
from search.terminal.table import Bar, Mark, Row, Table
from search.terminal.wording import counted, f1, setting, visible

ROWS_SHOWN = 1000
PAIRS_SHOWN = 15
LONGEST_NAME = 60  # characters; only the table of the classes has longer names
LONGEST_BAR = 16


def brief(name: str) -> str:
    """Return a class's name on one line, shortened if it is too long."""
    seen = visible(name).replace("\n", " ").strip()
    return seen if len(seen) <= LONGEST_NAME else f"{seen[: LONGEST_NAME - 1]}…"


def knob_names(paths: Sequence[TrialPath]) -> list[str]:
    """Return the knobs that any trial searched, in the order of their first trial."""
    return list(dict.fromkeys(chain.from_iterable(path.searched.knobs for path in paths)))


def trials_table(paths: Sequence[TrialPath], marked: Standings, *, id: str) -> Table:
    """Return a table of each trial's value and configuration, and why it ended early."""
    knobs = knob_names(paths)
    shown = paths[:ROWS_SHOWN]
    rows = [
        (
            str(path.number),
            ", ".join(filter(None, (path.searched.state, marked.get(path.number)))),
            f1(path.searched.value),
            *(setting(path.searched.knobs[name]) if name in path.searched.knobs else "-" for name in knobs),
            path.reason or "",
        )
        for path in shown
    ]
    marks: dict[tuple[int, int], Mark] = {
        (i, j): "strong" for i, path in enumerate(shown) if path.number in marked for j in (0, 2)
    }
    columns = ("trial", "state", "macro F1", *knobs, "ended early because")
    return Table("Every trial", columns, rows, _cut(paths), frozenset({1, len(columns) - 1}), marks, id=id)


def curves_table(paths: Sequence[TrialPath]) -> Table:
    """Return a table of each trial's score after each epoch."""
    curved = [path for path in paths if path.curve]
    rows = [
        (str(path.number), path.searched.state, ", ".join(f1(value) for _, value in path.curve))
        for path in curved[:ROWS_SHOWN]
    ]
    columns = ("trial", "state", "macro F1 after each epoch")
    return Table("Every curve", columns, rows, _cut(curved), frozenset({1, 2}), id="curves")


def _cut(paths: Sequence[TrialPath]) -> str:
    return f"The first {ROWS_SHOWN:,} of {len(paths):,} trials." if len(paths) > ROWS_SHOWN else ""


def infeasible_table(report: Report, paths: Sequence[TrialPath]) -> Table:
    """Return a table of the trials over a limit and whether they were trained, or a sentence if there are none."""
    limits = ", ".join(f"{name} {limit:,}" for name, limit in report.limits.items())
    stated = f"The study's limits: {limits}." if limits else "The study sets no limit to a network's size or latency."
    infeasible = [path for path in paths if path.over or path.is_refused]
    rows = [
        (
            str(path.number),
            ", ".join(path.over) or "-",
            "no" if path.is_refused else "yes",
            f1(path.searched.value),
            path.reason or "",
        )
        for path in infeasible[:ROWS_SHOWN]
    ]
    summary = f"{counted(len(infeasible), 'infeasible trial')}." if infeasible else "No trial is infeasible."
    columns = ("trial", "over", "trained", "macro F1", "why") if rows else ()
    return Table(
        "Limits and infeasible trials", columns, rows, f"{stated} {summary}", frozenset({1, 2, 4}), id="infeasible"
    )


def pairs_table(final: Final) -> Table:
    """Return a table of the pairs of classes that the exported model confuses most often."""
    pairs, names = hardest_pairs(final, PAIRS_SHOWN), [brief(score.name) for score in final.classes]
    largest = max((pair.total for pair in pairs), default=1)
    rows: list[Row] = [
        (
            names[pair.first],
            names[pair.second],
            f"{pair.first_as_second:,}",
            f"{pair.second_as_first:,}",
            f"{pair.total:,}",
            Bar(pair.total / largest, LONGEST_BAR),
        )
        for pair in pairs
    ]
    wrong = sum(sum(row) - row[i] for i, row in enumerate(final.confusion))
    share = sum(pair.total for pair in pairs) / wrong if wrong else 0.0
    caption = (
        f"These pairs account for {share:.0%} of the {wrong:,} mistakes of seed {final.exported_seed}."
        if rows
        else "No mistake."
    )
    columns = ("first", "second", "first predicted as second", "second predicted as first", "both", "")
    return Table("Hardest classes, pair by pair", columns, rows, caption, frozenset({0, 1, 5}), id="pairs")


def reliability_table(calibration: Calibration) -> Table:
    """Return a table of the bins of the reliability diagram."""
    rows = [
        (
            f"{interval.low:.3f} to {interval.high:.3f}",
            f"{interval.images:,}",
            "-" if interval.confidence is None else f"{interval.confidence:.4f}",
            "-" if interval.accuracy is None else f"{interval.accuracy:.4f}",
        )
        for interval in calibration.bins
    ]
    return Table("The bins", ("probability", "images", "mean probability", "share that is right"), rows, id="bins")
