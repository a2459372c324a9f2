"""The trials of a study as rows: what each was, how it ended, and why."""

from collections.abc import Mapping, Sequence
from typing import Literal

from optuna.trial import FrozenTrial, TrialState

from fmnist.config import TrialConfig, knobs
from fmnist.knobs import Choice
from fmnist.refusals import shown
from fmnist.suggestions import did_you_mean
from search.errors import SearchError
from search.report.lists.answer import Answer, Facts, Value
from search.storage.foreign import FOREIGN
from search.study.study import Study
from search.study.trials import REFUSED, value_of
from search.terminal.table import Mark, Row, Table
from search.terminal.wording import counted, duration, f1, setting

STATES = {
    TrialState.WAITING: "waiting",
    TrialState.RUNNING: "running",
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
}
REFUSED_STATE = "refused"  # pruned before it trained, for a limit; it counts against no budget
FIXED = ("number", "state", "value", "epochs", "seconds", "parameters", "flops", "reason", "seed")
FIRST = FIXED[:5]  # on a terminal
ALWAYS = 3  # of them, however narrow it is
HEADS = {"number": "trial", "value": "macro F1", "seconds": "time"}

Kind = Literal["number", "text"] | tuple[str, ...]  # the last: one of these words


def trial_rows(study: Study) -> list[Facts]:
    """A row a trial, in their order; its keys are those of `kinds`, less what the trial does not have."""
    return [trial_row(trial) for trial in study.trials()]


def trial_row(trial: FrozenTrial) -> Facts:
    """What is known of a trial by now."""
    attributes = trial.user_attrs
    knobs_set = {_key(name): value for name, value in configuration(trial).items()}
    return knobs_set | {
        "number": trial.number,
        "state": state_of(trial),
        "value": value_of(trial),
        "epochs": len(trial.intermediate_values),
        **{name: attributes.get(name) for name in ("seconds", "parameters", "flops", "reason", "seed")},
    }


def state_of(trial: FrozenTrial) -> str:
    """In a word."""
    if FOREIGN in trial.user_attrs:
        return FOREIGN
    return REFUSED_STATE if REFUSED in trial.user_attrs and trial.state == TrialState.PRUNED else STATES[trial.state]


def configuration(trial: FrozenTrial) -> dict[str, Value]:
    """Every knob with its value, also those that the study pins; what an earlier version did not know has its neutral
    default.
    """
    kept = trial.user_attrs.get("config")
    neutral = {name: TrialConfig.model_fields[name].default for name in knobs()} if isinstance(kept, dict) else {}
    return neutral | {name: value for name, value in (kept or {}).items() if name in knobs()} | trial.params


def kinds(rows: Sequence[Facts]) -> dict[str, Kind]:
    """Column -> what stands in it: the fixed ones, every knob, and what else another program's trials have."""
    found: dict[str, Kind] = dict.fromkeys(FIXED, "number")
    found |= {"state": (*STATES.values(), REFUSED_STATE, FOREIGN), "reason": "text"}
    found |= {name: _kind(knob.options if isinstance(knob, Choice) else (0.0,)) for name, knob in knobs().items()}
    others = dict.fromkeys(key for row in rows for key in row if key not in found)
    return found | {key: _kind([row[key] for row in rows if row.get(key) is not None]) for key in others}


def searched_knobs(study: Study) -> list[str]:
    """The columns of the knobs that some trial's sampler chose, in the order of declaration, then another program's."""
    found = {name for trial in study.trials() for name in trial.params}
    return [_key(name) for name in (*(name for name in knobs() if name in found), *sorted(found - knobs().keys()))]


def column(name: str, columns: Mapping[str, Kind]) -> str:
    """The name, if there is such a column. Raises: SearchError with the nearest one."""
    if name not in columns:
        raise SearchError(f"There is no column {shown(name)} of trials. {did_you_mean(name, columns)}")
    return name


def ordered(rows: Sequence[Facts], by: str, *, reverse: bool) -> list[Facts]:
    """The rows by that column, smallest first, of `value` best first; what has no value stands last either way."""
    with_it = [row for row in rows if row.get(by) is not None]
    found = sorted(with_it, key=lambda row: _sortable(row[by]), reverse=reverse != (by == "value"))
    return found + [row for row in rows if row.get(by) is None]


def trials_answer(
    study: str,
    rows: Sequence[Facts],
    columns: Sequence[str],
    wanted: Sequence[str],
    in_all: int,
    *,
    chosen: Sequence[str] = (),
) -> Answer:
    """The trials for people and for programs.

    `columns` are the keys for programs; people see the first ones and `wanted`, as far as there is room. If any are
    `chosen`, it is those.
    """
    title = f"Trials of {study}"
    if not rows:
        said = f"None of {counted(in_all, 'trial')} is so." if in_all else "None yet."
        return Answer([Table(title, caption=said)], chosen or columns, rows)
    filled = [key for key in (*FIRST, *wanted) if key in FIRST or any(row.get(key) is not None for row in rows)]
    keys = list(dict.fromkeys(chosen or filled))
    shown_rows: list[Row] = [tuple(said_of(key, row.get(key)) for key in keys) for row in rows]
    caption = counted(len(rows), "trial") if len(rows) == in_all else f"{len(rows):,} of {counted(in_all, 'trial')}"
    texts = frozenset(i for i, key in enumerate(keys) if key in ("state", "reason"))
    heads = tuple(HEADS.get(key, key) for key in keys)
    spare = tuple(range(1 if chosen else ALWAYS, len(keys)))
    return Answer(
        [Table(title, heads, shown_rows, f"{caption}.", texts, _marks(rows, keys), spare)], chosen or columns, rows
    )


def _key(knob: str) -> str:
    return f"knob.{knob}" if knob in FIXED else knob  # of another program's study


def _kind(values: Sequence[Value]) -> Kind:
    if all(isinstance(value, bool) for value in values):
        return ("true", "false")
    if all(isinstance(value, int | float) for value in values):
        return "number"
    return tuple(dict.fromkeys(str(value) for value in values))


def _sortable(value: Value) -> tuple[bool, float, str]:
    return (False, float(value), "") if isinstance(value, int | float) else (True, 0.0, str(value).casefold())


def said_of(key: str, value: Value) -> str:
    """A trial's value in that column, as a person reads it."""
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


def _marks(rows: Sequence[Facts], columns: Sequence[str]) -> dict[tuple[int, int], Mark]:
    values = [float(value) for row in rows if row["state"] == "complete" and isinstance(value := row["value"], float)]
    best = max(values, default=None)
    at = {key: i for i, key in enumerate(columns)}
    found: dict[tuple[int, int], Mark] = {}
    for i, row in enumerate(rows):
        if "value" in at and best is not None and row["value"] == best:
            found[i, at["value"]] = "strong"
        if "state" in at and row["state"] == "failed":
            found[i, at["state"]] = "alarm"
    return found
