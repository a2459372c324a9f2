"""The tables of a report, independent of the output format; render.py prints them and writes them as Markdown."""

from collections.abc import Callable, Mapping, Sequence
from itertools import chain

from search.report.ablation import ablation_table
from search.report.confusion import confusion_table
from search.report.data_tables import cleaning_in_brief, data_rows
from search.report.facts import Report, Searched, confirm_epochs
from search.report.front_table import front_table
from search.report.importances import EVALUATOR
from search.report.knob_tables import chosen_table, space_table, wider_table
from search.study.records import Environment, Final, FinalRun, SearchEnd
from search.terminal.table import Bar, Mark, Row, Table
from search.terminal.wording import counted, duration, f1, setting, settings, times

REASONS_SHOWN = 5
LONGEST_BAR = 24  # characters of the longest importance


def tables(report: Report) -> list[Table]:
    """Return the tables of `report`: the knobs, the result, then how it was reached, then the environment."""
    final = report.final
    result = [] if final is None else [_final_runs(final), *_teachers(final), _per_class(final), confusion_table(final)]
    if (front := front_table(report)) is not None:
        result.insert(0, front)
    chosen = [chosen_table(report), *([wider_table(report.wider)] if report.wider else [])]
    return [*chosen, *result] + [table for build in _REST if (table := build(report)) is not None]


RUN_COLUMNS = ("seed", "macro F1", "accuracy", "training", "checkpoint")


def _run_rows(runs: Sequence[FinalRun]) -> list[Row]:
    return [(str(run.seed), f1(run.macro_f1), f1(run.accuracy), duration(run.seconds), run.folder) for run in runs]


def _origin(final: Final) -> str:
    return "A configuration that no search chose" if final.trial is None else f"Trial {final.trial}"


def _teachers(final: Final) -> list[Table]:
    if (teachers := final.teachers) is None:
        return []
    averaged = "" if teachers.ensemble is None else f"; averaged, as they taught, {f1(teachers.ensemble.macro_f1)}"
    caption = (
        f"{_origin(final)}, trained again on train + validation: the students above learned the mean probabilities of "
        f"these networks, which are not the result. "
        f"{teachers.parameters:,} parameters, {teachers.flops / 1e6:.1f} MFLOPs an image. Mean {f1(teachers.mean)}, "
        f"{100 * final.level:g} % interval [{f1(teachers.low)}, {f1(teachers.high)}]{averaged}. Configuration: "
        f"{settings(teachers.config.model_dump())}."
    )
    title = "Teachers, on the test split"
    return [Table(title, RUN_COLUMNS, _run_rows(teachers.runs), caption, frozenset({0, 4}), id="teachers")]


def _final_runs(final: Final) -> Table:
    trained = (
        f"{_origin(final)}, trained again" if final.teachers is None else "Students of the teachers below, trained"
    )
    caption = (
        f"{trained} on train + validation: {final.parameters:,} parameters, {final.flops / 1e6:.1f} "
        f"MFLOPs an image. Seed {final.exported_seed} is the one exported, by rule, not by its score. Configuration: "
        f"{settings(final.config.model_dump())}."
    )
    if final.temperature is not None:
        caption += f" Class scores are divided by {final.temperature:g}, the temperature fitted on validation images."
    for run in final.runs:
        if run.threads is not None:
            caption += f" Seed {run.seed} had {run.threads} threads, those of idle workers among them."
    marks: dict[tuple[int, int], Mark] = {
        (i, 0): "strong" for i, run in enumerate(final.runs) if run.seed == final.exported_seed
    }
    title = "Final trainings, on the test split"
    return Table(title, RUN_COLUMNS, _run_rows(final.runs), caption, frozenset({0, 4}), marks, id="final")


def _per_class(final: Final) -> Table:
    rows = [
        (score.name, f1(score.precision), f1(score.recall), f1(score.f1), f"{score.images:,}")
        for score in final.classes
    ]
    marks: dict[tuple[int, int], Mark] = {}
    if final.classes:
        marks[min(range(len(rows)), key=lambda i: final.classes[i].f1), 3] = "alarm"
    caption = f"Each figure is the mean over {counted(len(final.runs), 'seed')}."
    columns = ("class", "precision", "recall", "F1", "images")
    return Table("Each class, on the test split", columns, rows, caption, marks=marks, id="classes")


def _confirmed(report: Report) -> Table | None:
    title = "Confirmed on fresh seeds, on the validation split"
    if not report.confirmed:
        return None
    if report.winner is not None and not any(row.seeds for row in report.confirmed):
        caption = f"Not done: the study plans no fresh seeds, and the best trial, {report.winner}, is the winner."
        return Table(title, caption=caption, id="confirmed")
    rows = [
        (str(row.trial), f1(row.search_value), str(row.seeds), f1(row.mean), f1(row.sd)) for row in report.confirmed
    ]
    marks: dict[tuple[int, int], Mark] = {
        (i, j): "strong" for i, row in enumerate(report.confirmed) if row.trial == report.winner for j in (0, 3)
    }
    won = (
        "No winner before every candidate has its seeds."
        if report.winner is None
        else f"Trial {report.winner} is the winner."
    )
    columns = ("trial", "in the search", "seeds", "mean", "sd")
    return Table(title, columns, rows, f"{won} {_optimism(report)}", marks=marks, id="confirmed")


def _optimism(report: Report) -> str:
    if epochs := confirm_epochs(report.spec):
        return f"Each was trained {counted(epochs, 'epoch')} here: the means cannot be compared with the search."
    if (optimism := report.optimism) is None:
        return "Optimism is known once the best trial has a fresh seed."
    luck = " The best of many noisy scores is often partly luck." if optimism.difference > 0 else ""
    return (
        f"Optimism {optimism.difference:+.4f}: the best trial, {optimism.trial}, scored "
        f"{f1(optimism.search_value)}; on fresh seeds its configuration has a mean of "
        f"{f1(optimism.confirmed_mean)}.{luck}"
    )


def _best_trials(report: Report) -> Table:
    title, best = "Best trials of the search", report.best
    if not best:
        return Table(title, caption="No trial has a score yet.", id="best")
    knobs = list(dict.fromkeys(chain.from_iterable(trial.knobs for trial in best)))
    rows = [("macro F1", *(f1(trial.value) for trial in best)), ("state", *(_state(trial) for trial in best))]
    rows += [(knob, *(setting(trial.knobs[knob]) if knob in trial.knobs else "-" for trial in best)) for knob in knobs]
    rows.append(_sizes("parameters", [trial.parameters for trial in best]))
    rows.append(_sizes("seconds", [trial.seconds for trial in best]))
    marks: dict[tuple[int, int], Mark] = {
        (0, i): "strong" for i, trial in enumerate(best, start=1) if trial.number == report.winner
    }
    caption = "One seed each, on the validation split. Knobs that the study pins are not shown."
    return Table(title, ("trial", *(str(trial.number) for trial in best)), rows, caption, marks=marks, id="best")


def _sizes(name: str, figures: Sequence[float | None]) -> tuple[str, ...]:
    return name, *("-" if figure is None else f"{figure:,.0f}" for figure in figures)


def _state(trial: Searched) -> str:
    return trial.state if trial.feasible else "over limit"


def _importances(report: Report) -> Table:
    title = "What the score depends on"
    if report.importances.absent:
        return Table(title, caption=f"Not shown: {report.importances.absent}.", id="importances")
    shares = report.importances.shares
    top = max(shares.values())
    rows = [(name, f"{share:.2f}", Bar(share / top, LONGEST_BAR)) for name, share in shares.items()]
    caption = (
        f"Share of the variation between complete trials, from {EVALUATOR}. With few trials it is only a hint; it "
        "covers only the values that were tried. optuna-dashboard's are from PED-ANOVA, which asks what sets the best "
        "trials apart, and differ."
    )
    return Table(title, ("knob", "share", ""), rows, caption, frozenset({0, 2}), id="importances")


def _states(report: Report) -> Table:
    states = report.states
    counts = [
        ("complete", states.complete, {}),
        ("pruned", states.pruned, states.pruned_because),
        ("refused", states.refused, {_over(group.over, report.limits): group.trials for group in states.refused_over}),
        ("failed", states.failed, states.failed_because),
        ("running", states.running, {}),
        ("waiting", states.waiting, {}),
    ]
    rows = [(name, f"{count:,}", _because(reasons)) for name, count, reasons in counts if count]
    caption = _plan(report) if rows else f"No trial yet. {_plan(report)}".rstrip()
    if report.prior and rows:
        earlier = ", ".join(f"{name}: {count:,}" for name, count in report.prior.trainings.items())
        caption = f"{caption} The model of the search began with earlier trainings: {earlier}."
    if report.search_end and rows:
        caption = f"{caption} {_search_end(report.search_end, report.timing.search)}"
    return Table("Trials", ("state", "trials", "why"), rows, caption, frozenset({0, 2}), id="states")


def _search_end(end: SearchEnd, seconds: float) -> str:
    if end.unused is None:
        return f"The search ended after {duration(seconds)}: {end.reason}."
    saved = [counted(end.unused, "trial")] if end.unused else []
    if end.minutes is not None and end.minutes * 60 > seconds:
        saved.append(duration(end.minutes * 60 - seconds))
    unused = f", with {' and '.join(saved)} of its budget unused" if saved else ""
    return f"The search ended by itself after {duration(seconds)}{unused}: {end.reason}."


def _over(broken: Sequence[str], limits: Mapping[str, int | float]) -> str:
    """Name the limits only, "over max_params 300,000 and max_size 1,200,000": with sizes every trial would differ."""
    stated = {
        name: f"{name} {limit:,}" if isinstance(limit, int) else f"{name} {limit:g}" for name, limit in limits.items()
    }
    return f"over {' and '.join(stated.get(name, name) for name in broken)}" if broken else "no limit recorded"


def _plan(report: Report) -> str:
    stages = []
    for name in ("search", "prior", "confirm", "final"):
        section = report.spec.get(name)
        entries = section.items() if isinstance(section, dict) else ()
        stated = {key: value for key, value in entries if value not in (None, [], "never")}
        stages += [f"{name} {settings(stated)}"] if stated else []
    return f"The study's plan: {'; '.join(stages)}." if stages else ""


def _because(reasons: Mapping[str, int]) -> str:
    phrases = [f"{reason} ({count})" for reason, count in list(reasons.items())[:REASONS_SHOWN]]
    others = sum(list(reasons.values())[REASONS_SHOWN:])
    return "; ".join(phrases + ([f"{others} for other reasons"] if others else []))


def _timing(report: Report) -> Table | None:
    stages = report.timing.model_dump()
    if not any(stages.values()):
        return None
    rows = [(stage, duration(seconds)) for stage, seconds in stages.items() if stage not in ("ablate", "job")]
    rows.append(("total", duration(report.timing.total)))
    if report.timing.job:
        rows.append(("until the report", duration(report.timing.job)))
    if report.timing.ablate:
        rows.append(("ablate", duration(report.timing.ablate)))
    caption = "Sum over all runs of the study, without the test, the report and the export."
    caption += " Until the report: all of the job up to it, its start and the test too." if report.timing.job else ""
    return Table("Wall clock", ("stage", "time"), rows, caption, frozenset({0, 1}), id="timing")


def _minutes(report: Report) -> Table | None:
    if not report.decisions:
        return None
    rows = [(duration(decision.seconds), decision.text) for decision in report.decisions]
    caption = "What the job decided within its minutes, and when."
    return Table("How the minutes were divided", ("after", "decision"), rows, caption, frozenset({0, 1}), id="minutes")


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
    rows = [
        (opening.at, opening.by, "-" if opening.trial is None else str(opening.trial)) for opening in report.openings
    ]
    caption = "" if rows else "None so far."
    if report.prior and report.prior.openings:
        before = ", ".join(f"{name}: {times(count)}" for name, count in report.prior.openings.items())
        caption = f"{caption} Before this study, in those that it began with: {before}.".lstrip()
    return Table("Openings of the test split", ("at", "by", "trial"), rows, caption, frozenset({0, 1}), id="openings")


def _ablation(report: Report) -> Table | None:
    return None if report.ablation is None else ablation_table(report.ablation)


_REST: tuple[Callable[[Report], Table | None], ...] = (
    _confirmed,
    _ablation,
    _best_trials,
    _importances,
    _states,
    lambda report: space_table(report.extensions),
    _minutes,
    _timing,
    _cleaning,
    _environment,
    _openings,
)
