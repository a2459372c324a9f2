"""One trial, whole: what was trained, how it went, and why it ended."""

import shlex
from collections.abc import Sequence
from typing import Any, cast

from optuna.trial import FrozenTrial
from pydantic import JsonValue

from fmnist.config import TrialConfig
from search.errors import SearchError
from search.report.lists.answer import Answer, Facts, Value
from search.report.lists.trial_rows import FIXED, said_of, state_of, trial_row
from search.storage.masking import masked
from search.storage.opening import DEFAULT_STORAGE
from search.study.study import Study
from search.study.trials import constraints_of, value_of
from search.terminal.table import Mark, Row, Table
from search.terminal.wording import f1, setting

CURVE = ("number", "train_loss", "valid_loss", "macro_f1", "accuracy", "seconds")
KEYS = ("trial", "epoch", *CURVE[1:])
HEADS = ("epoch", "train loss", "valid loss", "macro F1", "accuracy", "seconds")


def trial_page(study: Study, number: int, storage: str) -> Answer:
    """All that the study, which was found at that URL, knows of that trial; its rows are the epochs.

    Raises: SearchError where there is no such trial.
    """
    trial = _trial(study, number, storage)
    curve = _curve(trial)
    tables = [_facts(study, trial), _configuration(trial), _epochs(curve), _constraints(trial)]
    rows = [{"trial": number, "epoch": one.get("number"), **{key: one.get(key) for key in CURVE[1:]}} for one in curve]
    return Answer([table for table in tables if table is not None], KEYS, rows, _document(study, trial, curve))


def _trial(study: Study, number: int, storage: str) -> FrozenTrial:
    trials = study.trials()
    for trial in trials:
        if trial.number == number:
            return trial
    there = f"It has 0 to {len(trials) - 1}." if trials else "It has none yet."
    where = [] if storage == DEFAULT_STORAGE else ["--storage", masked(storage)]
    listed = shlex.join(["fmnist-search", "trials", study.name, *where])
    raise SearchError(f"The study {study.name!r} has no trial {number}. {there} `{listed}` lists them.")


def _curve(trial: FrozenTrial) -> list[dict[str, Any]]:
    kept = trial.user_attrs.get("curve")
    if isinstance(kept, list) and kept and all(isinstance(one, dict) for one in kept):
        return kept
    return [
        {"number": step, "macro_f1": value} for step, value in sorted(trial.intermediate_values.items())
    ]  # while it runs


def _fixed(trial: FrozenTrial) -> dict[str, Value]:
    """The fields that the search did not turn."""
    config = trial.user_attrs.get("config")
    return (
        {name: value for name, value in config.items() if name not in trial.params} if isinstance(config, dict) else {}
    )


def _facts(study: Study, trial: FrozenTrial) -> Table:
    row: Facts = trial_row(trial)
    rows: list[Row] = [
        ("state", str(row["state"])),
        ("macro F1", f1(value_of(trial))),
        *((key, said_of(key, row[key])) for key in ("reason", "seed", "parameters", "flops") if row[key] is not None),
        *([("time", said_of("seconds", row["seconds"]))] if row["seconds"] is not None else []),
        *(
            (name, f"{at:%Y-%m-%d %H:%M:%S}")
            for name, at in (("begun", trial.datetime_start), ("ended", trial.datetime_complete))
            if at
        ),
    ]
    caption = "Macro F1 on the validation split; flops of one image; times on the clock of the machine that ran it."
    return Table(f"Trial {trial.number} of {study.name}", ("", ""), rows, caption, frozenset({0, 1}))


def _configuration(trial: FrozenTrial) -> Table:
    fixed = _fixed(trial)
    rows = [(name, setting(value), "searched", _meaning(name)) for name, value in trial.params.items()]
    rows += [(name, setting(value), "", _meaning(name)) for name, value in fixed.items()]
    if not rows:
        return Table("Configuration", caption="None yet: the trial has not begun.")
    marks: dict[tuple[int, int], Mark] = {(i, 1): "strong" for i in range(len(trial.params))}
    return Table(
        "Configuration",
        ("knob", "value", "", "meaning"),
        rows,
        text_columns=frozenset({0, 2, 3}),
        marks=marks,
        spare=(3,),
    )


def _meaning(name: str) -> str:
    field = TrialConfig.model_fields.get(name)
    return (field.description or "") if field else ""


def _epochs(curve: Sequence[dict[str, Any]]) -> Table:
    if not curve:
        return Table("Epochs", caption="None: it was not trained for a whole epoch.")
    shown = [key for key in CURVE if any(one.get(key) is not None for one in curve)]
    rows = [tuple(_said(key, one.get(key)) for key in shown) for one in curve]
    heads = tuple(HEADS[CURVE.index(key)] for key in shown)
    caption = "Seconds since the training began." if "seconds" in shown else ""
    spare = tuple(shown.index(key) for key in ("valid_loss", "train_loss", "seconds", "accuracy") if key in shown)
    return Table("Epochs", heads, rows, caption, frozenset(), spare=spare)


def _said(key: str, value: Value) -> str:
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
    if not (found := constraints_of(trial)):
        return None
    rows = [(name, f"{100 * share:+.1f} %", "over" if share > 0 else "within") for name, share in found.items()]
    marks: dict[tuple[int, int], Mark] = {(i, 2): "alarm" for i, share in enumerate(found.values()) if share > 0}
    caption = "By how much of the limit it is above or below; what diverged or found no memory is 100 % over."
    return Table("Limits", ("limit", "above it", ""), rows, caption, frozenset({0, 2}), marks)


def _document(study: Study, trial: FrozenTrial, curve: Sequence[dict[str, Any]]) -> dict[str, JsonValue]:
    row = trial_row(trial)
    start, end = trial.datetime_start, trial.datetime_complete
    found = {
        "study": study.name,
        **{key: row.get(key) for key in FIXED},
        "state": state_of(trial),
        "begun": start.isoformat(timespec="seconds") if start else None,
        "ended": end.isoformat(timespec="seconds") if end else None,
        "searched": dict(trial.params),
        "fixed": _fixed(trial),
        "curve": [{"epoch": one.get("number"), **{key: one.get(key) for key in CURVE[1:]}} for one in curve],
        "constraints": dict(constraints_of(trial)),
    }
    return cast("dict[str, JsonValue]", found)
