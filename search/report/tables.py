"""A report's tables, each built once, free of any medium: report.py renders them for the terminal and as Markdown."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain

from search.report.ablation import ablation_table
from search.report.data_tables import cleaning_in_brief, data_rows
from search.report.facts import Report, Searched, most_confused
from search.study.records import Environment, Final
from search.terminal.table import Bar, Mark, Row, Table
from search.terminal.wording import counted, duration, f1, setting, settings

__all__ = ["Mark", "Row", "Table", "differing", "short_names", "tables"]

WORST_SHOWN = 3  # confusions worth a look
CONFUSIONS_SHOWN = 15  # where there are too many classes for a matrix
MATRIX_CLASSES = 20
MATRIX_WIDTH = 66  # characters of its figures, which leaves names 14 of a terminal's 80
REASONS_SHOWN = 5
LONGEST_BAR = 24  # characters of the longest importance


def tables(report: Report) -> list[Table]:
    """What there is to show of `report`, the result first, then how it was reached, then the circumstances."""
    result = [build(report.final, report) for build in _RESULT] if report.final else []
    return result + [table for build in _REST if (table := build(report)) is not None]


def _final_runs(final: Final, _: Report) -> Table:
    rows = [
        (str(run.seed), f1(run.macro_f1), f1(run.accuracy), duration(run.seconds), run.folder) for run in final.runs
    ]
    origin = "A configuration given from outside" if final.trial is None else f"Trial {final.trial}"
    caption = (
        f"{origin}, trained again on train + validation: {final.parameters:,} parameters, {final.flops / 1e6:.1f} "
        "MFLOPs an image. "
        f"Seed {final.exported_seed} is the one exported, by rule, not by its score. Configuration: "
        f"{settings(final.config.model_dump())}."
    )
    marks: dict[tuple[int, int], Mark] = {
        (i, 0): "strong" for i, run in enumerate(final.runs) if run.seed == final.exported_seed
    }
    return Table(
        "Final trainings, on the test split",
        ("seed", "macro F1", "accuracy", "training", "checkpoint"),
        rows,
        caption,
        frozenset({0, 4}),
        marks,
        id="final",
    )


def _per_class(final: Final, _: Report) -> Table:
    rows = [(one.name, f1(one.precision), f1(one.recall), f1(one.f1), f"{one.images:,}") for one in final.classes]
    marks: dict[tuple[int, int], Mark] = {}
    if final.classes:
        marks[min(range(len(rows)), key=lambda i: final.classes[i].f1), 3] = "alarm"
    caption = f"Each figure is the mean over {counted(len(final.runs), 'seed')}."
    return Table(
        "Each class, on the test split",
        ("class", "precision", "recall", "F1", "images"),
        rows,
        caption,
        marks=marks,
        id="classes",
    )


def _confusion(final: Final, _: Report) -> Table:
    title = "Confusion, on the test split"
    names = [one.name for one in final.classes]
    rows = [
        (name, *(str(n) if n else "·" for n in counts)) for name, counts in zip(names, final.confusion, strict=True)
    ]
    columns = ("true", *short_names(names))
    if len(names) > MATRIX_CLASSES or _figures_width([columns, *rows]) > MATRIX_WIDTH:
        return _most_confused(final, title)
    worst = most_confused(final, WORST_SHOWN)
    marks: dict[tuple[int, int], Mark] = {(i, i + 1): "strong" for i in range(len(names))}
    marks |= {(one.true, one.predicted + 1): "alarm" for one in worst}
    said = ", ".join(f"{names[one.true]} taken for {names[one.predicted]} ({one.mistaken})" for one in worst)
    caption = (
        f"Images of seed {final.exported_seed}: rows are true, columns predicted. Most often: {said or 'no mistake'}."
    )
    return Table(title, columns, rows, caption, marks=marks, id="confusion")


def _figures_width(rows: Sequence[tuple[str, ...]]) -> int:
    return sum(max(map(len, column)) + 1 for column in list(zip(*rows, strict=True))[1:])


def _most_confused(final: Final, title: str) -> Table:
    names = [one.name for one in final.classes]
    found = most_confused(final, CONFUSIONS_SHOWN)
    rows = [
        (names[one.true], names[one.predicted], f"{one.mistaken:,}", f"{100 * one.mistaken / one.images:.1f} %")
        for one in found
    ]
    shown = (
        f"The most frequent of all mistakes between {len(names)} classes."
        if rows
        else f"No mistake between {len(names)} classes."
    )
    caption = f"Images of seed {final.exported_seed}. {shown} The whole matrix is in report.json."
    return Table(
        title,
        ("true", "predicted", "images", "share of the true class"),
        rows,
        caption,
        frozenset({0, 1}),
        id="confusion",
    )


def _confirmed(report: Report) -> Table | None:
    title = "Confirmed on fresh seeds, on the validation split"
    if not report.confirmed:
        return None
    if report.winner is not None and report.optimism is None:
        caption = f"Nothing was: the study plans no fresh seeds, and trial {report.winner} is the best of the search."
        return Table(title, caption=caption, id="confirmed")
    rows = [
        (str(one.trial), f1(one.search_value), str(one.seeds), f1(one.mean), f1(one.sd)) for one in report.confirmed
    ]
    marks: dict[tuple[int, int], Mark] = {
        (i, j): "strong" for i, one in enumerate(report.confirmed) if one.trial == report.winner for j in (0, 3)
    }
    won = (
        "No winner before every candidate has its seeds. " if report.winner is None else f"Trial {report.winner} won. "
    )
    return Table(
        title,
        ("trial", "in the search", "seeds", "mean", "sd"),
        rows,
        won + _optimism(report),
        marks=marks,
        id="confirmed",
    )


def _optimism(report: Report) -> str:
    if (flattery := report.optimism) is None:
        return "Optimism is known once the search's best trial has a fresh seed."
    luck = " The best of many noisy scores is often partly luck." if flattery.difference > 0 else ""
    return (
        f"Optimism {flattery.difference:+.4f}: the search gave its best trial, {flattery.trial}, "
        f"{f1(flattery.search_value)}; "
        f"on fresh seeds the same configuration has {f1(flattery.confirmed_mean)}.{luck}"
    )


def _best_trials(report: Report) -> Table:
    title = "Best trials of the search"
    if not report.best:
        return Table(title, caption="No trial has ended with a score yet.", id="best")
    knobs = list(dict.fromkeys(chain.from_iterable(row.knobs for row in report.best)))
    rows = [("macro F1", *(f1(row.value) for row in report.best)), ("state", *(_state(row) for row in report.best))]
    rows += [(name, *(setting(row.knobs[name]) if name in row.knobs else "-" for row in report.best)) for name in knobs]
    rows += [
        _sizes("parameters", [row.parameters for row in report.best]),
        _sizes("seconds", [row.seconds for row in report.best]),
    ]
    marks: dict[tuple[int, int], Mark] = {
        (0, i + 1): "strong" for i, row in enumerate(report.best) if row.number == report.winner
    }
    caption = "One seed each, on the validation split. Knobs that the study pins are not shown."
    return Table(title, ("trial", *(str(row.number) for row in report.best)), rows, caption, marks=marks, id="best")


def _sizes(name: str, figures: Sequence[float | None]) -> tuple[str, ...]:
    return name, *("-" if figure is None else f"{figure:,.0f}" for figure in figures)


def _state(row: Searched) -> str:
    return row.state if row.feasible else "over limit"


def _importances(report: Report) -> Table:
    title = "What the score depends on"
    if report.importances.absent:
        return Table(title, caption=f"Not shown: {report.importances.absent}.", id="importances")
    shares = report.importances.shares
    top = max(shares.values())
    rows = [(name, f"{share:.2f}", Bar(share / top, LONGEST_BAR)) for name, share in shares.items()]
    caption = (
        "Share of the variation between complete trials, from a random forest (mean decrease of impurity). "
        "With few trials a hint, no more; it is about the values that were tried."
    )
    return Table(title, ("knob", "share", ""), rows, caption, frozenset({0, 2}), id="importances")


def _states(report: Report) -> Table:
    states = report.states
    counts = [
        ("complete", states.complete, {}),
        ("pruned", states.pruned, states.pruned_because),
        ("refused", states.refused, {_over(one.over, report.limits): one.trials for one in states.refused_over}),
        ("failed", states.failed, states.failed_because),
        ("running", states.running, {}),
        ("waiting", states.waiting, {}),
    ]
    rows = [(name, f"{count:,}", _because(reasons)) for name, count, reasons in counts if count]
    caption = _plan(report) if rows else f"No trial yet. {_plan(report)}".rstrip()
    return Table("Trials", ("state", "trials", "why"), rows, caption, frozenset({0, 2}), id="states")


def _over(broken: Sequence[str], limits: Mapping[str, int | float]) -> str:
    """ "over max_params 300,000 and max_size 1,200,000": the limits alone, so that each size is no reason of its
    own.
    """
    stated = {
        name: f"{name} {limit:,}" if isinstance(limit, int) else f"{name} {limit:g}" for name, limit in limits.items()
    }
    return f"over {' and '.join(stated.get(name, name) for name in broken)}" if broken else "no limit recorded"


def _plan(report: Report) -> str:
    sections = {name: report.spec.get(name) for name in ("search", "confirm", "final")}
    said = [
        f"{name} {settings({key: value for key, value in section.items() if value is not None})}"
        for name, section in sections.items()
        if isinstance(section, dict)
    ]
    return f"The study's plan: {'; '.join(said)}." if said else ""


def _because(reasons: Mapping[str, int]) -> str:
    said = [f"{reason} ({count})" for reason, count in list(reasons.items())[:REASONS_SHOWN]]
    more = sum(reasons.values()) - sum(list(reasons.values())[:REASONS_SHOWN])
    return "; ".join(said + ([f"{more} for other reasons"] if more else []))


def _timing(report: Report) -> Table | None:
    stages = report.timing.model_dump()
    if not any(stages.values()):
        return None
    rows = [(stage, duration(seconds)) for stage, seconds in stages.items() if stage != "ablate"]
    rows.append(("total", duration(report.timing.total)))
    if report.timing.ablate:
        rows.append(("ablate", duration(report.timing.ablate)))
    caption = "Summed over all runs of the study; the test, the report and the export are not in it."
    return Table("Wall clock", ("stage", "time"), rows, caption, frozenset({0, 1}), id="timing")


def _cleaning(report: Report) -> Table | None:
    return cleaning_in_brief(report.data.cleaning) if report.data and report.data.cleaning else None


def _environment(report: Report) -> Table | None:
    if not report.environments and report.data is None:
        return None
    rows = data_rows(report.data) if report.data else []
    rows += _environment_rows(report.environments[-1]) if report.environments else []
    runs = len(report.environments)
    caption = f"The last of {counted(runs, 'run')}." if runs > 1 else ""
    return Table("Data and environment", ("", ""), rows, caption, frozenset({0, 1}), id="environment")


def _environment_rows(last: Environment) -> list[Row]:
    return [
        ("run", last.at),
        ("command", last.command),
        ("commit", last.commit or "unknown"),
        ("device", last.device),
        ("processor", f"{last.processor}, {counted(last.cores, 'core')}"),
        ("platform", last.platform),
        ("workers", f"{last.workers} with {counted(last.threads_per_worker, 'thread')} each"),
        ("versions", ", ".join(f"{name} {version}" for name, version in last.versions.items())),
    ]


def _openings(report: Report) -> Table:
    rows = [(one.at, one.by, "-" if one.trial is None else str(one.trial)) for one in report.openings]
    caption = "" if rows else "None so far."
    return Table("Openings of the test split", ("at", "by", "trial"), rows, caption, frozenset({0, 1}), id="openings")


def short_names(names: Sequence[str]) -> list[str]:
    """Heads for narrow columns: the first few letters where they tell the classes apart, else the classes' numbers."""
    for length in range(4, 7):
        heads = [name[:length].rstrip() for name in names]
        if len(set(heads)) == len(heads):
            return heads
    return [str(i) for i in range(len(names))]


def differing(environments: Iterable[Environment]) -> list[str]:
    """What was not the same in all runs: the names of the fields that bear on figures or speed."""
    runs = list(environments)
    fields = ("commit", "versions", "platform", "processor", "cores", "device")
    return [name for name in fields if any(getattr(run, name) != getattr(runs[0], name) for run in runs)]


_RESULT: tuple[Callable[[Final, Report], Table], ...] = (_final_runs, _per_class, _confusion)


def _ablation(report: Report) -> Table | None:
    return None if report.ablation is None else ablation_table(report.ablation)


_REST: tuple[Callable[[Report], Table | None], ...] = (
    _confirmed,
    _ablation,
    _best_trials,
    _importances,
    _states,
    _timing,
    _cleaning,
    _environment,
    _openings,
)
