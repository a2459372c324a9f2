"""The answer of a command: tables for people, JSON or CSV for programs."""

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import JsonValue

from search.terminal.table import Table
from search.terminal.wording import visible

Value = bool | int | float | str | None
Facts = Mapping[str, Value]
Form = Literal["tables", "json", "csv"]
FORMULA = ("=", "+", "-", "@")  # first characters of a formula, which a spreadsheet would evaluate


@dataclass(frozen=True, slots=True)
class Answer:
    """The same facts twice: `tables` with rounded figures, and `rows` with exact values under stable `keys`."""

    tables: Sequence[Table]
    keys: Sequence[str]
    rows: Sequence[Facts]
    # The JSON, if it holds more than the rows.
    document: Mapping[str, JsonValue] | Sequence[Mapping[str, JsonValue]] | None = None


def to_json(answer: Answer) -> str:
    """Return the document or the rows as JSON; non-finite figures are null, control characters are escaped."""
    document = (
        answer.document
        if answer.document is not None
        else [{key: row.get(key) for key in answer.keys} for row in answer.rows]
    )
    return json.dumps(finite(document), indent=2, allow_nan=False)


def to_csv(answer: Answer) -> str:
    """Return a line of keys and a line for each row; unknown values are empty, formulas and controls are disarmed."""
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow([_cell(key) for key in answer.keys])
    lines.writerows([_cell(row.get(key)) for key in answer.keys] for row in answer.rows)
    return text.getvalue().removesuffix("\n")


def finite(value: object) -> object:
    """Return the value with None in place of each figure that is not finite, which JSON cannot represent."""
    match value:
        case float() if not math.isfinite(value):
            return None
        case Mapping():
            return {name: finite(item) for name, item in value.items()}
        case list() | tuple():
            return [finite(item) for item in value]
        case _:
            return value


def _cell(value: Value) -> str:
    match value:
        case None:
            return ""
        case bool():
            return str(value).lower()
        case float() if not math.isfinite(value):
            return ""
        case int() | float():
            return repr(value)
        case _:
            text = visible(value)
            return f"'{text}" if text.lstrip().startswith(FORMULA) else text
