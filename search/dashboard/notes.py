"""The texts of the notes on a study and its trials, as Markdown for optuna-dashboard. No torch."""

import textwrap
from collections.abc import Iterator, Sequence

import numpy as np
from optuna.trial import FrozenTrial

from fmnist.metrics import score
from search.report.facts import Confirmed, Report
from search.report.importances import EVALUATOR
from search.report.render import escaped, headline, table_to_markdown, warnings
from search.samplers.names import UNITS
from search.storage.trial_record import TrialRecord
from search.study.predictions import Predictions
from search.study.trials import constraints_of, value_of
from search.study.winner import WINNER
from search.terminal.table import Mark, Table
from search.terminal.wording import amount, counted, duration, f1, setting, settings

LINE = 80  # characters


def study_note(report: Report, study_id: int, numbers: Sequence[int]) -> str:
    """Return the study's result or progress, links to the winner and the best trials, and help on Optuna's pages."""
    lines = [f"# {escaped(report.study)}", "", f"**{escaped(headline(report))}**", ""]
    lines += [f"> **{escaped(line)}**\n" for line in warnings(report)]
    if isinstance(description := report.spec.get("description"), str) and description:
        lines += [escaped(description), ""]
    lines += [
        *_winner(report, study_id),
        *_front(report, study_id),
        *_best(report, study_id, numbers),
        *_reading(report),
    ]
    return "\n".join(lines)


def trial_note(report: Report, trial: FrozenTrial, study_id: int, predictions: Predictions | None) -> str:
    """Return the trial's score, its configuration, and the scores of each class."""
    searched = trial.params
    fixed = {name: value for name, value in (TrialRecord(trial).config or {}).items() if name not in searched}
    knobs = Table(
        "Configuration", ("searched knob", "value"), [(name, setting(value)) for name, value in searched.items()]
    )
    lines = [f"# {_standing(report, trial.number)}", "", *_figures(trial), *_again(report, trial.number)]
    lines += [*table_to_markdown(knobs), *_wrapped(f"Not searched: {settings(fixed)}."), ""]
    if predictions is not None and report.data is not None:
        lines += table_to_markdown(_classes(predictions, report.data.class_names))
    else:
        lines += [
            "Its predictions on the validation images were not stored, so there are no scores for each class.",
            "",
        ]
    return "\n".join([*lines, f"[All of the study](/dashboard/studies/{study_id}/note)"])


def infeasible_note(trial: FrozenTrial, study_id: int) -> str:
    """Return why the trial is infeasible, which Optuna's pages do not show if it was not trained."""
    over = ", ".join(f"{name} by {share:.1%}" for name, share in constraints_of(trial).items() if share > 0)
    lines = [f"# Trial {trial.number}, infeasible", "", f"Over its limit: {escaped(over)}.", ""]
    if reason := TrialRecord(trial).reason:
        lines += [*_wrapped(reason), ""]
    return "\n".join([*lines, f"[All of the study](/dashboard/studies/{study_id}/note)"])


def link(study_id: int, number: int) -> str:
    """Return a link to the trial's page in the dashboard."""
    return f"[trial {number}](/dashboard/studies/{study_id}/trials?numbers={number})"


def _winner(report: Report, study_id: int) -> Iterator[str]:
    if report.winner is None:
        yield "There is no winner yet: the first trials below are trained again on fresh seeds once the search is over."
    else:
        yield f"The winner is {link(study_id, report.winner)}{_confirmed_in_words(report, report.winner)}."
        if (optimism := report.optimism) is not None:
            yield (
                f"The best trial, {optimism.trial}, scored {f1(optimism.search_value)}; on fresh seeds it has "
                f"a mean of {f1(optimism.confirmed_mean)} ({-optimism.difference:+.4f})."
            )
    yield ""


def _front(report: Report, study_id: int) -> Iterator[str]:
    if not report.front:
        return
    yield "The points of the front, on the test split:"
    yield ""
    for point in report.front:
        costs = ", ".join(f"{amount(value)} {UNITS[cost]}" for cost, value in point.costs.items())
        yield f"- {link(study_id, point.trial)}: {costs}; {f1(point.mean)} ({f1(point.low)} to {f1(point.high)})"
    yield ""


def _confirmed_in_words(report: Report, number: int) -> str:
    for candidate in report.confirmed:
        if candidate.trial == number and candidate.mean is not None:
            return f", with a validation macro F1 of {_spread(candidate)} over {counted(candidate.seeds, 'fresh seed')}"
    return ""


def _spread(candidate: Confirmed) -> str:
    return f1(candidate.mean) + (f" ± {f1(candidate.sd)}" if candidate.sd is not None else "")


def _best(report: Report, study_id: int, numbers: Sequence[int]) -> Iterator[str]:
    # A list, as a table is too wide for a phone.
    values = {row.number: row for row in report.best}
    for number in numbers:
        standing = report.standings.get(number)
        named = f"- {link(study_id, number)}{f', the {standing}' if standing else ''}"
        if (row := values.get(number)) is None:
            yield named
        else:
            size = "" if row.parameters is None else f", {row.parameters:,} parameters"
            yield f"{named}: {f1(row.value)}{size}; {escaped(settings(row.knobs))}"
    yield ""


def _reading(report: Report) -> Iterator[str]:
    states = report.states
    ended = f"{states.complete} complete, {states.pruned} pruned, {states.failed} failed"
    ended += f", {states.refused} refused for a limit" if states.refused else ""
    running = f", {states.running} running, {states.waiting} waiting" if states.running or states.waiting else ""
    yield (
        f"- **Trials**: {ended}{running}. A trial's value is its last epoch's macro F1 on the validation split, of one "
        "seed."
    )
    if report.timing.total:
        spent = report.timing.model_dump(exclude={"ablate"})  # ablate is not part of the job
        stages = ", ".join(f"{stage} {duration(seconds)}" for stage, seconds in spent.items() if seconds)
        yield f"- **Time**: {duration(report.timing.total)} of wall clock ({stages})."
    yield (
        "- **Infeasible** trials are over a limit of the study, diverged, or ran out of memory; their notes say which."
    )
    yield (
        "- **Notes and artifacts**: the trials above have their scores for each class, their curve and their surest "
        "mistakes."
    )
    yield (
        "- **Hyperparameter Importance** is this dashboard's, from PED-ANOVA: what sets the best trials apart. The "
        f"report's is from {EVALUATOR}: what explains the variation between all complete trials."
    )
    if report.final is not None:
        yield "- **The model**, its card and the report page are artifacts of the winner and of this study."
    yield f"- In a terminal: `fmnist-search report {_in_code(report.study)} --open`"


def _in_code(name: str) -> str:
    return name.replace("`", "")


def _standing(report: Report, number: int) -> str:
    standing = report.standings.get(number)
    named = f"Trial {number}, the {standing}" if standing else f"Trial {number}"
    if standing == WINNER:
        return named
    if number in {candidate.trial for candidate in report.confirmed}:
        return f"{named}, confirmed and not chosen" if report.winner is not None else f"{named}, a candidate"
    return named if standing else f"{named}, among the best of the search"


def _figures(trial: FrozenTrial) -> Iterator[str]:
    record = TrialRecord(trial)
    took = f", {duration(record.seconds)}" if record.seconds is not None else ""
    size = f", {record.parameters:,} parameters" if record.parameters else ""
    seed = f", seed {record.seed}" if record.seed is not None else ""
    yield (
        f"**Macro F1 {f1(value_of(trial))}** on the validation split after "
        f"{counted(record.curve[-1].number if record.curve else 0, 'epoch')}{took}{size}{seed}."
    )
    yield ""


def _again(report: Report, number: int) -> Iterator[str]:
    for candidate in report.confirmed:
        if candidate.trial == number and candidate.mean is not None:
            yield f"Trained again on {counted(candidate.seeds, 'fresh seed')}: {_spread(candidate)}."
            yield ""
    if report.final is not None and report.final.trial == number:
        yield from _wrapped(f"Trained again on all training images: {headline(report)}")
        yield ""


def _wrapped(text: str) -> list[str]:
    # A trial's page is as wide as its longest line.
    lines = textwrap.wrap(text, LINE, break_long_words=False, break_on_hyphens=False)
    return [*(f"{escaped(line)}\\" for line in lines[:-1]), escaped(lines[-1])]


def _classes(predictions: Predictions, names: Sequence[str]) -> Table:
    scores = score(predictions.labels, predictions.predicted[0], len(names))
    figures = zip(names, scores.precision, scores.recall, scores.f1, scores.support, strict=True)
    rows = [
        (name, f1(precision), f1(recall), f1(value), f"{count:,}") for name, precision, recall, value, count in figures
    ]
    marks: dict[tuple[int, int], Mark] = {(int(np.argmin(scores.f1)), 3): "alarm"}
    columns = ("class", "precision", "recall", "F1", "images")
    return Table("Each class, on the validation split", columns, rows, "One network, one seed.", marks=marks)
