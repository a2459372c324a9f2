"""What a command has found, in the form that who asked can use: tables for people, JSON or CSV for programs."""

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
FORMULA = ("=", "+", "-", "@")  # what begins one in a spreadsheet, which would carry it out


@dataclass(frozen=True, slots=True)
class Answer:
    """The same facts twice: `tables` in words and rounded figures; `rows` as they are, each with these `keys`, which
    never change.
    """

    tables: Sequence[Table]
    keys: Sequence[str]
    rows: Sequence[Facts]
    document: Mapping[str, JsonValue] | None = None  # the JSON, where there is more to say than in rows


def to_json(answer: Answer) -> str:
    """The document, else the list of rows; a figure that is not finite is null. Control characters are written as their
    numbers.
    """
    found = (
        answer.document
        if answer.document is not None
        else [{key: row.get(key) for key in answer.keys} for row in answer.rows]
    )
    return json.dumps(finite(found), indent=2, allow_nan=False)


def to_csv(answer: Answer) -> str:
    """A line of keys and one a row; nothing stands for what is not known, and no cell is a formula or steers a
    terminal.
    """
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow([_cell(key) for key in answer.keys])
    lines.writerows([_cell(row.get(key)) for key in answer.keys] for row in answer.rows)
    return text.getvalue().removesuffix("\n")


def finite(value: object) -> object:
    """The same value with None in place of each figure that is not finite, which JSON has no word for."""
    match value:
        case float() if not math.isfinite(value):
            return None
        case Mapping():
            return {name: finite(one) for name, one in value.items()}
        case list() | tuple():
            return [finite(one) for one in value]
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
