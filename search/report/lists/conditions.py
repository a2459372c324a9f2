"""The conditions of `--where`: a column, an operator, a value."""

import math
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fmnist.refusals import shown
from fmnist.suggestions import did_you_mean
from search.errors import SearchError
from search.report.lists.answer import Facts, Value
from search.report.lists.trial_rows import Kind, column
from search.terminal.wording import setting

OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "!=": operator.ne,
    "<=": operator.le,
    ">=": operator.ge,
    "=": operator.eq,
    "<": operator.lt,
    ">": operator.gt,
}
SYNONYMS = {"fail": "failed"}  # Optuna's name of the state
_CONDITION = re.compile(r"\s*([^=!<>]*[^=!<>\s])\s*(!=|<=|>=|=|<|>)\s*(.*\S)\s*", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Condition:
    """A comparison of the value in `column`; a row without a value only satisfies `!=`."""

    column: str
    compare: Callable[[Any, Any], bool]
    value: float | str

    def holds(self, row: Facts) -> bool:
        """Return whether the row satisfies the condition."""
        value: Value = row.get(self.column)
        if value is None:
            return self.compare is operator.ne
        if isinstance(self.value, str):
            return self.compare(setting(value).casefold(), self.value)
        return self.compare(value, self.value)


def read_conditions(texts: Sequence[str], columns: Mapping[str, Kind]) -> list[Condition]:
    """Parse the conditions; a trial must satisfy all of them.

    Raises: SearchError with a line for each invalid condition.
    """
    conditions, errors = [], []
    for text in texts:
        try:
            conditions.append(_condition(text, columns))
        except SearchError as error:
            errors.append(f"--where {shown(text)}: {error}")
    if errors:
        raise SearchError("\n".join(errors))
    return conditions


def _condition(text: str, columns: Mapping[str, Kind]) -> Condition:
    if (match := _CONDITION.fullmatch(text)) is None:
        example = "such as state=pruned or, with quotes for the shell, 'filters>=32'"
        raise SearchError(f"It must be a column, one of {' '.join(OPERATORS)}, and a value, {example}.")
    name, sign, value = match.groups()
    name = column(name, columns)
    kind = columns[name]
    if kind == "number":
        return Condition(name, OPERATORS[sign], _number(name, value))
    if sign not in ("=", "!="):
        raise SearchError(f"{name} holds words, not numbers: use = or !=, got {sign}.")
    word = value.casefold() if kind == "text" else _word(name, value, kind)
    return Condition(name, OPERATORS[sign], word)


def _number(name: str, value: str) -> float:
    try:
        if math.isfinite(number := float(value)):
            return number
    except ValueError:
        pass
    raise SearchError(f"{name} must be compared with a number, got {shown(value)}.")


def _word(name: str, value: str, words: Sequence[str]) -> str:
    word = SYNONYMS.get(value.casefold(), value.casefold()) if name == "state" else value.casefold()
    if word not in {valid.casefold() for valid in words}:
        raise SearchError(f"{name} is never {shown(value)}. {did_you_mean(value, words)}")
    return word
