"""A single trial: its configuration, its epochs, and why it ended."""

import shlex
from collections.abc import Sequence
from dataclasses import fields
from typing import cast

from optuna.trial import FrozenTrial
from pydantic import JsonValue

from fmnist.config import TrialConfig
from fmnist.curve import CurvePoint
from search.errors import SearchError
from search.report.lists.answer import Answer, Facts, Value
from search.report.lists.trial_rows import FIXED, as_text, state_of, trial_row
from search.storage.masking import masked
from search.storage.trial_record import TrialRecord
from search.study.paths import DEFAULT_STORAGE
from search.study.study import Study
from search.study.trials import constraints_of, value_of
from search.study.winner import BEST_TRIAL, Standing, standings_in
from search.terminal.table import Mark, Row, Table
from search.terminal.wording import f1, setting

CURVE = tuple(field.name for field in fields(CurvePoint))
KEYS = ("trial", "epoch", *CURVE[1:])
HEADS = ("epoch", "train loss", "valid loss", "macro F1", "accuracy", "seconds")


def trial_page(study: Study, number: int | None, storage: str) -> Answer:
    """Return all that the study has on a trial, with its epochs as rows; `storage` is only for the error message.

    Without a number it is the winner, or before there is one the best trial so far.

    Raises: SearchError if there is no such trial.
    """
    marked = standings_in(study)
    if number is None and not marked:
        raise SearchError(
            f"The study {study.name!r} has no complete trial yet, so no best trial. Give a trial's number."
        )
    trial = _trial(study, next(iter(marked)) if number is None else number, storage)
    number, standing = trial.number, marked.get(trial.number)
    curve = _curve(trial)
    tables = [_facts(study, trial, standing), _configuration(trial), _epochs(curve), _constraints(trial)]
    epochs = [{"epoch": point.number, **{key: getattr(point, key) for key in CURVE[1:]}} for point in curve]
    rows = [{"trial": number, **epoch} for epoch in epochs]
    return Answer(
        [table for table in tables if table is not None], KEYS, rows, _document(study, trial, standing, curve)
    )


def _trial(study: Study, number: int, storage: str) -> FrozenTrial:
    trials = study.trials()
    for trial in trials:
        if trial.number == number:
            return trial
    numbers = f"It has 0 to {len(trials) - 1}." if trials else "It has none yet."
    options = [] if storage == DEFAULT_STORAGE else ["--storage", masked(storage)]
    listing = shlex.join(["fmnist-search", "trials", study.name, *options])
    raise SearchError(f"The study {study.name!r} has no trial {number}. {numbers} `{listing}` lists them.")


def _curve(trial: FrozenTrial) -> tuple[CurvePoint, ...]:
    # While a trial runs, its storage holds only the score of each epoch since it began or was paused.
    curve = TrialRecord(trial).curve
    last = curve[-1].number if curve else -1  # another program may count from 0
    return curve + tuple(
        CurvePoint(step, None, None, value, None, None)
        for step, value in sorted(trial.intermediate_values.items())
        if step > last
    )


def _fixed(trial: FrozenTrial) -> dict[str, Value]:
    """Return the values that the search did not choose."""
    config = TrialRecord(trial).config or {}
    return {name: value for name, value in config.items() if name not in trial.params}


def _facts(study: Study, trial: FrozenTrial, standing: Standing | None) -> Table:
    row: Facts = trial_row(trial)
    rows: list[Row] = [
        ("state", str(row["state"])),
        ("macro F1", f1(value_of(trial))),
        *((key, as_text(key, row[key])) for key in ("reason", "seed", "parameters", "flops") if row[key] is not None),
        *([("time", as_text("seconds", row["seconds"]))] if row["seconds"] is not None else []),
        *(
            (name, f"{time:%Y-%m-%d %H:%M:%S}")
            for name, time in (("begun", trial.datetime_start), ("ended", trial.datetime_complete))
            if time
        ),
    ]
    caption = "Macro F1 on the validation split; flops of one image; times by the clock of the machine that ran it."
    title = f"Trial {trial.number} of {study.name}{f', the {standing}' if standing else ''}"
    if standing == BEST_TRIAL:
        caption = f"The best trial has the highest score of one seed; the winner is confirmed on fresh seeds. {caption}"
    return Table(title, ("", ""), rows, caption, frozenset({0, 1}))


def _configuration(trial: FrozenTrial) -> Table:
    fixed = _fixed(trial)
    rows = [(name, setting(value), "searched", _meaning(name)) for name, value in trial.params.items()]
    rows += [(name, setting(value), "", _meaning(name)) for name, value in fixed.items()]
    if not rows:
        return Table("Configuration", caption="None yet: the trial has not started.")
    marks: dict[tuple[int, int], Mark] = {(i, 1): "strong" for i in range(len(trial.params))}
    columns = ("knob", "value", "", "meaning")
    return Table("Configuration", columns, rows, text_columns=frozenset({0, 2, 3}), marks=marks, spare=(3,))


def _meaning(name: str) -> str:
    field = TrialConfig.model_fields.get(name)
    return (field.description or "") if field else ""


def _epochs(curve: Sequence[CurvePoint]) -> Table:
    if not curve:
        return Table("Epochs", caption="None: it was not trained for a whole epoch.")
    shown = [key for key in CURVE if any(getattr(point, key) is not None for point in curve)]
    rows = [tuple(_cell(key, getattr(point, key)) for key in shown) for point in curve]
    heads = tuple(HEADS[CURVE.index(key)] for key in shown)
    caption = "Seconds since the start of the training." if "seconds" in shown else ""
    spare = tuple(shown.index(key) for key in ("valid_loss", "train_loss", "seconds", "accuracy") if key in shown)
    return Table("Epochs", heads, rows, caption, frozenset(), spare=spare)


def _cell(key: str, value: Value) -> str:
    match value:
        case None:
            return "-"
        case float() if key == "seconds":
            return f"{value:.1f}"
        case float():
            return f1(value)
        case _:
            return str(value)


def _constraints(trial: FrozenTrial) -> Table | None:
    if not (constraints := constraints_of(trial)):
        return None
    rows = [(name, f"{100 * share:+.1f} %", "over" if share > 0 else "within") for name, share in constraints.items()]
    marks: dict[tuple[int, int], Mark] = {(i, 2): "alarm" for i, share in enumerate(constraints.values()) if share > 0}
    caption = "Difference from the limit; a trial that diverged or ran out of memory is 100 % over."
    return Table("Limits", ("limit", "above it", ""), rows, caption, frozenset({0, 2}), marks)


def _document(
    study: Study, trial: FrozenTrial, standing: Standing | None, curve: Sequence[CurvePoint]
) -> dict[str, JsonValue]:
    row = trial_row(trial)
    start, end = trial.datetime_start, trial.datetime_complete
    document = {
        "study": study.name,
        **{key: row.get(key) for key in FIXED},
        "state": state_of(trial),
        "standing": standing,
        "begun": start.isoformat(timespec="seconds") if start else None,
        "ended": end.isoformat(timespec="seconds") if end else None,
        "searched": dict(trial.params),
        "fixed": _fixed(trial),
        "curve": [{"epoch": point.number, **{key: getattr(point, key) for key in CURVE[1:]}} for point in curve],
        "constraints": dict(constraints_of(trial)),
    }
    return cast("dict[str, JsonValue]", document)
