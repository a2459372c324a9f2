"""The trials of a study as rows: configuration, state, score, and why they ended."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Literal

from optuna.trial import FrozenTrial, TrialState

from fmnist.config import TrialConfig, knobs
from fmnist.knobs import Choice
from fmnist.refusals import shown
from fmnist.suggestions import did_you_mean
from search.errors import SearchError
from search.report.lists.answer import Answer, Facts, Value
from search.storage.trial_record import TrialRecord
from search.study.study import Study
from search.study.trials import value_of
from search.study.winner import Standings
from search.terminal.table import Mark, Row, Table
from search.terminal.wording import counted, duration, f1, setting

STATES = {
    TrialState.WAITING: "waiting",
    TrialState.RUNNING: "running",
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
}
FOREIGN_STATE = "foreign"  # made by another program; not counted
PAUSED_STATE = "paused"  # waits with a snapshot until it promises more than others
REFUSED_STATE = "refused"  # over a limit before training; does not count towards a budget
FIXED = ("number", "state", "value", "epochs", "seconds", "parameters", "flops", "reason", "seed")
FIRST = FIXED[:5]  # shown first in a terminal
ALWAYS = 3  # of these, shown in any terminal
HEADS = {"number": "trial", "value": "macro F1", "seconds": "time"}
STANDING = "standing"  # a column of the table alone: the winner, the best trial
PRINTED = {
    "trial": "number",
    "f1": "value",
    "macro f1": "value",
    "time": "seconds",
}  # as a column is printed -> its key

NO_STANDINGS: Standings = MappingProxyType({})
Kind = Literal["number", "text"] | tuple[str, ...]  # a tuple: one of these words


def trial_rows(study: Study) -> list[Facts]:
    """Return a row for each trial, by number; the keys are those of `kinds` that the trial has."""
    return [trial_row(trial) for trial in study.trials()]


def trial_row(trial: FrozenTrial) -> Facts:
    """Return what the study has on a trial so far."""
    record = TrialRecord(trial)
    knobs_set = {_key(name): value for name, value in configuration(trial).items()}
    return knobs_set | {
        "number": trial.number,
        "state": state_of(trial),
        "value": value_of(trial),
        "epochs": len(trial.intermediate_values),
        **{name: getattr(record, name) for name in ("seconds", "parameters", "flops", "reason", "seed")},
        **({"reason": record.pause} if state_of(trial) == PAUSED_STATE else {}),
        **({"reason": f"outside the study's space: {record.outside}"} if record.outside else {}),
    }


def state_of(trial: FrozenTrial) -> str:
    """Return the trial's state as a word."""
    record = TrialRecord(trial)
    if record.foreign:
        return FOREIGN_STATE
    if trial.state == TrialState.WAITING and record.pause:
        return PAUSED_STATE
    return REFUSED_STATE if record.is_refused and trial.state == TrialState.PRUNED else STATES[trial.state]


def configuration(trial: FrozenTrial) -> dict[str, Value]:
    """Return the value of every knob, pinned or searched; knobs newer than the trial have their neutral default."""
    config = TrialRecord(trial).config
    neutral = {name: TrialConfig.model_fields[name].default for name in knobs()} if config is not None else {}
    return neutral | {name: value for name, value in (config or {}).items() if name in knobs()} | trial.params


def kinds(rows: Sequence[Facts]) -> dict[str, Kind]:
    """Map each column to its kind: the fixed columns, every knob, and the parameters of another program's trials."""
    columns: dict[str, Kind] = dict.fromkeys(FIXED, "number")
    columns |= {"state": (*STATES.values(), PAUSED_STATE, REFUSED_STATE, FOREIGN_STATE), "reason": "text"}
    for name, knob in knobs().items():  # another program's study may give it other values
        options = knob.options if isinstance(knob, Choice) else (0.0,)
        columns[name] = _kind([*options, *(row[name] for row in rows if row.get(name) is not None)])
    others = dict.fromkeys(key for row in rows for key in row if key not in columns)
    return columns | {key: _kind([row[key] for row in rows if row.get(key) is not None]) for key in others}


def searched_knobs(study: Study) -> list[str]:
    """Return the columns of the searched knobs in order of declaration, then another program's parameters."""
    searched = {name for trial in study.trials() for name in trial.params}
    return [
        _key(name) for name in (*(name for name in knobs() if name in searched), *sorted(searched - knobs().keys()))
    ]


def column(name: str, columns: Mapping[str, Kind]) -> str:
    """Return the key of the column of that name, which is a key or stands above the printed column.

    Raises: SearchError with the nearest name if there is none.
    """
    key = name if name in columns else PRINTED.get(name.casefold(), name)
    if key not in columns:
        raise SearchError(f"There is no column {shown(name)} of trials. {did_you_mean(name, [*PRINTED, *columns])}")
    return key


def ordered(rows: Sequence[Facts], by: str, *, reverse: bool) -> list[Facts]:
    """Return the rows sorted by that column, ascending, or best first for `value`; rows without a value are last."""
    filled = [row for row in rows if row.get(by) is not None]
    ranked = sorted(filled, key=lambda row: _sortable(row[by]), reverse=reverse != (by == "value"))
    return ranked + [row for row in rows if row.get(by) is None]


def trials_answer(
    study: str,
    rows: Sequence[Facts],
    columns: Sequence[str],
    extra: Sequence[str],
    total: int,
    *,
    chosen: Sequence[str] = (),
    marked: Standings = NO_STANDINGS,
) -> Answer:
    """Return the trials as a table for people and rows for programs.

    `columns` are the keys of the rows; the table has the first columns and `extra`, if there is room. `chosen` columns
    replace both. `total` is the number of trials before filtering. The table says which trials are `marked`.
    """
    title = f"Trials of {study}"
    if not rows:
        caption = f"None of {counted(total, 'trial')} matches." if total else "None yet."
        return Answer([Table(title, caption=caption)], chosen or columns, rows)
    first = (*FIRST[:ALWAYS], STANDING, *FIRST[ALWAYS:]) if any(row["number"] in marked for row in rows) else FIRST
    filled = [key for key in (*first, *extra) if key in first or any(row.get(key) is not None for row in rows)]
    keys = list(dict.fromkeys(chosen or filled))
    cells: list[Row] = [
        tuple(_standing(row, marked) if key == STANDING else as_text(key, row.get(key)) for key in keys) for row in rows
    ]
    caption = counted(len(rows), "trial") if len(rows) == total else f"{len(rows):,} of {counted(total, 'trial')}"
    texts = frozenset(i for i, key in enumerate(keys) if key in ("state", "reason", STANDING))
    heads = tuple(HEADS.get(key, key) for key in keys)
    spare = tuple(range(1 if chosen else ALWAYS, len(keys)))
    marks = _marks(rows, keys, marked)
    return Answer([Table(title, heads, cells, f"{caption}.", texts, marks, spare)], chosen or columns, rows)


def _standing(row: Facts, marked: Standings) -> str:
    number = row["number"]
    return marked.get(number, "") if isinstance(number, int) else ""


def _key(knob: str) -> str:
    return f"knob.{knob}" if knob in FIXED else knob  # of another program's study


def _kind(values: Sequence[Value]) -> Kind:
    if all(isinstance(value, bool) for value in values):
        return ("true", "false")
    if all(isinstance(value, int | float) for value in values):
        return "number"
    return tuple(dict.fromkeys(setting(value) for value in values))


def _sortable(value: Value) -> tuple[bool, float, str]:
    return (False, float(value), "") if isinstance(value, int | float) else (True, 0.0, str(value).casefold())


def as_text(key: str, value: Value) -> str:
    """Format a trial's value in that column for people."""
    match key, value:
        case _, None:
            return "-"
        case "value", float():
            return f1(value)
        case "seconds", int() | float():
            return duration(value)
        case "parameters" | "flops", int() | float():
            return f"{value:,.0f}"
        case _:
            return setting(value)


def _marks(rows: Sequence[Facts], columns: Sequence[str], marked: Standings) -> dict[tuple[int, int], Mark]:
    index = {key: i for i, key in enumerate(columns)}
    marks: dict[tuple[int, int], Mark] = {}
    for i, row in enumerate(rows):
        if row["number"] in marked:
            marks |= {(i, index[key]): "strong" for key in ("number", "value", STANDING) if key in index}
        if "state" in index and row["state"] == "failed":
            marks[i, index["state"]] = "alarm"
    return marks
