"""What a study's note and its best trials' notes say, as the Markdown that optuna-dashboard shows. No torch."""

import textwrap
from collections.abc import Iterator, Sequence

import numpy as np
from optuna.trial import FrozenTrial

from fmnist.metrics import score
from search.report.facts import Confirmed, Report
from search.report.render import escaped, headline, table_to_markdown, warnings
from search.study.predictions import Predictions
from search.study.trials import constraints_of, value_of
from search.terminal.table import Mark, Table
from search.terminal.wording import counted, duration, f1, setting, settings

LINE = 80  # characters


def study_note(report: Report, study_id: int, shown: Sequence[int]) -> str:
    """The result or how far it has come, the winner and the best trials as links, and how to read what Optuna's own
    pages show.
    """
    lines = [f"# {escaped(report.study)}", "", f"**{escaped(headline(report))}**", ""]
    lines += [f"> **{escaped(line)}**\n" for line in warnings(report)]
    if isinstance(said := report.spec.get("description"), str) and said:
        lines += [escaped(said), ""]
    lines += [*_winner(report, study_id), *_best(report, study_id, shown), *_reading(report)]
    return "\n".join(lines)


def trial_note(report: Report, trial: FrozenTrial, study_id: int, found: Predictions | None) -> str:
    """How the trial did, what it was, and how well its network knows each class."""
    searched = trial.params
    fixed = {name: value for name, value in trial.user_attrs.get("config", {}).items() if name not in searched}
    knobs = Table(
        "Configuration", ("searched knob", "value"), [(name, setting(value)) for name, value in searched.items()]
    )
    lines = [f"# {_standing(report, trial.number)}", "", *_figures(trial), *_again(report, trial.number)]
    lines += [*table_to_markdown(knobs), *_wrapped(f"Not searched: {settings(fixed)}."), ""]
    if found is not None and report.data is not None:
        lines += table_to_markdown(_classes(found, report.data.class_names))
    else:
        lines += [
            "Its network's answers on the validation images were not kept, so nothing can be said of each class.",
            "",
        ]
    return "\n".join([*lines, f"[All of the study](/dashboard/studies/{study_id}/note)"])


def infeasible_note(trial: FrozenTrial, study_id: int) -> str:
    """Why the trial is infeasible: Optuna's own pages do not say of one that was not trained."""
    over = ", ".join(f"{name} by {share:.1%}" for name, share in constraints_of(trial).items() if share > 0)
    lines = [f"# Trial {trial.number}, infeasible", "", f"Over its limit: {escaped(over)}.", ""]
    if reason := trial.user_attrs.get("reason"):
        lines += [*_wrapped(str(reason)), ""]
    return "\n".join([*lines, f"[All of the study](/dashboard/studies/{study_id}/note)"])


def link(study_id: int, number: int) -> str:
    """To the trial's page within the dashboard."""
    return f"[trial {number}](/dashboard/studies/{study_id}/trials?numbers={number})"


def _winner(report: Report, study_id: int) -> Iterator[str]:
    if report.winner is None:
        yield "There is no winner yet: the best trials are trained again on fresh seeds once the search is over."
    else:
        yield f"The winner is {link(study_id, report.winner)}{_confirmed_in_words(report, report.winner)}."
        if (flattery := report.optimism) is not None:
            yield (
                f"The search gave its best trial, {flattery.trial}, {f1(flattery.search_value)}; "
                f"on fresh seeds it has {f1(flattery.confirmed_mean)} ({-flattery.difference:+.4f})."
            )
    yield ""


def _confirmed_in_words(report: Report, number: int) -> str:
    for one in report.confirmed:
        if one.trial == number and one.mean is not None:
            return f", with a validation macro F1 of {_spread(one)} over {counted(one.seeds, 'fresh seed')}"
    return ""


def _spread(one: Confirmed) -> str:
    return f1(one.mean) + (f" ± {f1(one.sd)}" if one.sd is not None else "")


def _best(report: Report, study_id: int, shown: Sequence[int]) -> Iterator[str]:
    # A list, not a table: on a phone it has room.
    values = {row.number: row for row in report.best}
    for number in shown:
        if (row := values.get(number)) is None:
            yield f"- {link(study_id, number)}"
        else:
            size = "" if row.parameters is None else f", {row.parameters:,} parameters"
            yield f"- {link(study_id, number)}: {f1(row.value)}{size}; {escaped(settings(row.knobs))}"
    yield ""


def _reading(report: Report) -> Iterator[str]:
    states = report.states
    ended = f"{states.complete} complete, {states.pruned} pruned, {states.failed} failed"
    ended += f", {states.refused} refused for a limit" if states.refused else ""
    running = f", {states.running} running, {states.waiting} waiting" if states.running or states.waiting else ""
    yield (
        f"- **Trials**: {ended}{running}. A trial's value is its last epoch's macro F1 on the validation split, of "
        "one seed."
    )
    if report.timing.total:
        spent = report.timing.model_dump(exclude={"ablate"})  # which is not of the job
        stages = ", ".join(f"{stage} {duration(seconds)}" for stage, seconds in spent.items() if seconds)
        yield f"- **Time**: {duration(report.timing.total)} of wall clock ({stages})."
    yield (
        "- **Infeasible** trials are over a limit of the study, or diverged, or found no memory; their notes say which."
    )
    yield (
        "- **Notes and artifacts**: the trials above have their figures for each class, their curve and their surest "
        "mistakes."
    )
    if report.final is not None:
        yield "- **The model**, its card and the report page are artifacts of the winner and of this study."
    yield f"- In a terminal: `fmnist-search report {_in_code(report.study)} --open`"


def _in_code(name: str) -> str:
    return name.replace("`", "")


def _standing(report: Report, number: int) -> str:
    if number == report.winner:
        return f"Trial {number}, the winner"
    if number in {one.trial for one in report.confirmed}:
        return (
            f"Trial {number}, confirmed and not chosen" if report.winner is not None else f"Trial {number}, a candidate"
        )
    return f"Trial {number}, among the best of the search"


def _figures(trial: FrozenTrial) -> Iterator[str]:
    curve, seconds = trial.user_attrs.get("curve") or [], trial.user_attrs.get("seconds")
    took = f", {duration(seconds)}" if seconds is not None else ""
    size = f", {trial.user_attrs['parameters']:,} parameters" if trial.user_attrs.get("parameters") else ""
    seed = f", seed {trial.user_attrs['seed']}" if "seed" in trial.user_attrs else ""
    yield (
        f"**Macro F1 {f1(value_of(trial))}** on the validation split after "
        f"{counted(len(curve), 'epoch')}{took}{size}{seed}."
    )
    yield ""


def _again(report: Report, number: int) -> Iterator[str]:
    for one in report.confirmed:
        if one.trial == number and one.mean is not None:
            yield f"Trained again on {counted(one.seeds, 'fresh seed')}: {_spread(one)}."
            yield ""
    if report.final is not None and report.final.trial == number:
        yield from _wrapped(f"Trained again on all training images: {headline(report)}")
        yield ""


def _wrapped(text: str) -> list[str]:
    # A trial's page is as wide as the longest line in it.
    lines = textwrap.wrap(text, LINE, break_long_words=False, break_on_hyphens=False)
    return [*(f"{escaped(line)}\\" for line in lines[:-1]), escaped(lines[-1])]


def _classes(found: Predictions, names: Sequence[str]) -> Table:
    scores = score(found.labels, found.predicted[0], len(names))
    figures = zip(names, scores.precision, scores.recall, scores.f1, scores.support, strict=True)
    rows = [
        (name, f1(precision), f1(recall), f1(value), f"{count:,}") for name, precision, recall, value, count in figures
    ]
    marks: dict[tuple[int, int], Mark] = {(int(np.argmin(scores.f1)), 3): "alarm"}
    return Table(
        "Each class, on the validation split",
        ("class", "precision", "recall", "F1", "images"),
        rows,
        "One network, one seed.",
        marks=marks,
    )
