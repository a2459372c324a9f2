"""What `--where` asks of a trial: a column, an operator, a value."""

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
ALSO = {"fail": "failed"}  # Optuna's name of the state
_CONDITION = re.compile(r"\s*([^=!<>]*[^=!<>\s])\s*(!=|<=|>=|=|<|>)\s*(.*\S)\s*", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Condition:
    """Holds of the rows whose value in `column` compares so; a row without one is only ever unequal."""

    column: str
    compare: Callable[[Any, Any], bool]
    value: float | str

    def holds(self, row: Facts) -> bool:
        """Whether it does of this row."""
        found: Value = row.get(self.column)
        if found is None:
            return self.compare is operator.ne
        if isinstance(self.value, str):
            return self.compare(setting(found).casefold(), self.value)
        return self.compare(found, self.value)


def read_conditions(texts: Sequence[str], columns: Mapping[str, Kind]) -> list[Condition]:
    """The conditions, all of which a trial must meet.

    Raises: SearchError with all that is wrong, a line each.
    """
    found, errors = [], []
    for text in texts:
        try:
            found.append(_condition(text, columns))
        except SearchError as error:
            errors.append(f"--where {shown(text)}: {error}")
    if errors:
        raise SearchError("\n".join(errors))
    return found


def _condition(text: str, columns: Mapping[str, Kind]) -> Condition:
    if (match := _CONDITION.fullmatch(text)) is None:
        example = "such as state=pruned or, with quotes for the shell, 'filters>=32'"
        raise SearchError(f"It must be a column, one of {' '.join(OPERATORS)}, and a value, {example}.")
    name, sign, value = match.groups()
    kind = columns[column(name, columns)]
    if kind == "number":
        return Condition(name, OPERATORS[sign], _number(name, value))
    if sign not in ("=", "!="):
        raise SearchError(f"{name} has words, no numbers: use = or !=, got {sign}.")
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
    word = ALSO.get(value.casefold(), value.casefold()) if name == "state" else value.casefold()
    if word not in {one.casefold() for one in words}:
        raise SearchError(f"{name} is never {shown(value)}. {did_you_mean(value, words)}")
    return word
