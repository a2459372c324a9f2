"""One line on each value that a Pydantic model rejects: rule, value received and next step."""

import datetime
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType, NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from fmnist.suggestions import did_you_mean, nearest

LONGEST = 80  # characters of a value
LONGEST_NUMBER = 100  # bits; Python limits the digits of printed numbers
DEEPEST = 2  # nested lists or tables
MOST = 40  # lines
NONE: Mapping[str, str] = MappingProxyType({})
_KINDS: dict[Any, str] = {
    int: "a whole number", float: "a number", bool: "true or false", str: "a string in quotes",
    dict: "a table", tuple: "a list",
}  # fmt: skip
_QUOTES = ("'", '"')
_UNQUOTED = re.compile(r"true|false|[+-]?\d+(\.\d+)?([eE][+-]?\d+)?")


def refusals(
    error: ValidationError,
    model: type[BaseModel],
    *,
    noun: str = "key",
    display_names: Mapping[str, str] = NONE,
    correct_places: Mapping[str, str] = NONE,
) -> list[str]:
    """Return a line on each value that `model` rejects.

    `display_names` renames keys, for values that are not from a file. `correct_places` maps a misplaced name to the
    place where it belongs.
    """
    return [_line(details, model, noun, display_names, correct_places) for details in error.errors(include_url=False)]


def listed(lines: Sequence[str]) -> str:
    """Join the lines to one message, limited to the first ones."""
    more = [f"... and {len(lines) - MOST} more errors."] if len(lines) > MOST else []
    return "\n".join([*lines[:MOST], *more])


def rule(model: type[BaseModel], name: str) -> str:
    """Return the rule for the values of a field, such as "a whole number from 1 to 4"."""
    return _place(model, (name,)).rule


def shown(value: object) -> str:
    """Return the value on one line, similar to TOML: unprintable characters escaped, long values truncated."""
    text = _written(value, DEEPEST)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"


def _line(
    error: ErrorDetails,
    model: type[BaseModel],
    noun: str,
    display_names: Mapping[str, str],
    correct_places: Mapping[str, str],
) -> str:
    key, value = _key(error["loc"]), error["input"]
    if error["type"] == "extra_forbidden":
        name = str(error["loc"][-1])
        section = _place(model, error["loc"][:-1]).kind
        hint = (
            f"It belongs {correct_places[name]}."
            if name in correct_places
            else did_you_mean(name, section.model_fields)
        )
        return f"unknown {noun} {key if key.endswith(_QUOTES) else repr(key)}. {hint}"
    place = _place(model, error["loc"])
    if error["type"] == "missing":
        return f"{key} is missing; it must be {place.rule}."
    rule = str(error["ctx"]["error"]) if error["type"] == "value_error" else place.rule
    return (
        f"{display_names.get(key, key) or 'the content'} must be {rule}, got {shown(value)}.{_hint(place.kind, value)}"
    )


def _key(location: tuple[int | str, ...]) -> str:
    """Return the dotted key: entries of a list are numbered from 1, and unusual names are quoted."""
    key = ""
    for step in location:
        if isinstance(step, int):
            key += f" entry {step + 1}"
        else:
            key += f"{'.' * bool(key)}{step if re.fullmatch('[A-Za-z0-9_-]{1,60}', step) else shown(step)}"
    return key


@dataclass(frozen=True)
class _Place:
    """The declared type of the values at one location in a model."""

    kind: Any  # a type, or a Literal
    marks: tuple[Any, ...] = ()
    description: str | None = None

    @property
    def rule(self) -> str:
        if isinstance(self.kind, type) and issubclass(self.kind, BaseModel):
            return "a section with keys of its own"
        if get_origin(self.kind) is Literal:
            *most, last = [shown(option) for option in get_args(self.kind)]
            return f"{', '.join(most)} or {last}" if most else last
        kind = get_origin(self.kind) or self.kind
        if kind is str and self.description:
            return self.description
        return _KINDS.get(kind, "something else") + _bounds(self.marks, whole=kind is int)


def _place(model: type[BaseModel], location: tuple[int | str, ...]) -> _Place:
    place = _Place(model)
    for step in location:
        kind = place.kind
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            if (field := kind.model_fields.get(str(step))) is None:
                return _Place(kind)
            place = _bare(field.annotation, tuple(field.metadata), field.description)
        else:  # the value of a table or the entry of a list
            arguments = [argument for argument in get_args(kind) if argument is not Ellipsis]
            place = _bare(arguments[-1] if arguments else object, (), None)
    return place


def _bare(kind: Any, marks: tuple[Any, ...], description: str | None) -> _Place:
    """Unwrap Annotated, collecting its metadata, and Optional."""
    if get_origin(kind) is Annotated:
        kind, *inner = get_args(kind)
        for mark in inner:
            marks += tuple(mark.metadata) if isinstance(mark, FieldInfo) else (mark,)
            description = description or (mark.description if isinstance(mark, FieldInfo) else None)
        return _bare(kind, marks, description)
    if get_origin(kind) in (Union, UnionType):
        (kind,) = (option for option in get_args(kind) if option is not NoneType)
        return _bare(kind, marks, description)
    return _Place(kind, marks, description)


def _bounds(marks: tuple[Any, ...], *, whole: bool) -> str:
    bounds = {type(mark): mark for mark in marks}
    if whole and Lt in bounds:
        bounds[Le] = Le(bounds.pop(Lt).lt - 1)
    if Ge in bounds and Le in bounds:
        return f" from {shown(bounds[Ge].ge)} to {shown(bounds[Le].le)}"
    words = ((Ge, "ge", "at least"), (Gt, "gt", "above"), (Le, "le", "at most"), (Lt, "lt", "below"))
    phrases = [f"{word} {shown(getattr(bounds[kind], name))}" for kind, name, word in words if kind in bounds]
    return f", {' and '.join(phrases)}" if phrases else ""


def _hint(kind: Any, value: object) -> str:
    if get_origin(kind) is Literal and isinstance(value, str):
        near = nearest(value, [option for option in get_args(kind) if isinstance(option, str)])
        return f" Did you mean {near!r}?" if near else ""
    if kind in (int, float, bool) and isinstance(value, str) and _UNQUOTED.fullmatch(value):
        return " Write it without quotes."
    if isinstance(kind, type) and issubclass(kind, BaseModel) and isinstance(value, list):
        return " Write the section once, with its name in single brackets."
    return ""


def _written(value: object, depth: int) -> str:
    match value:
        case None:
            text = "null"
        case bool():
            text = str(value).lower()
        case int() if value.bit_length() > LONGEST_NUMBER:
            text = f"a number of about {value.bit_length() * 3 // 10} digits"
        case datetime.date() | datetime.time():
            text = f"the date or time {value}"
        case str() | bytes():
            text = repr(value[:LONGEST]) + "…" * (len(value) > LONGEST)
        case dict():
            items = list(value.items())[: 10 if depth else 0]
            entries = [f"{_key((str(name),))} = {_written(entry, depth - 1)}" for name, entry in items]
            text = f"{{{_joined(entries, len(value))}}}"
        case list() | tuple():
            entries = [_written(entry, depth - 1) for entry in value[: 10 if depth else 0]]
            text = f"[{_joined(entries, len(value))}]"
        case _:
            text = repr(value)
    return text


def _joined(entries: list[str], count: int) -> str:
    return ", ".join([*entries, "…"] if len(entries) < count else entries)
