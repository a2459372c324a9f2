"""Why values from outside are not what a Pydantic model asks for: rule, value received and next step, a line each."""

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
LONGEST_NUMBER = 100  # bits; Python refuses to write numbers of very many digits
DEEPEST = 2  # lists or tables within each other
MOST = 40  # lines
NONE: Mapping[str, str] = MappingProxyType({})
_KINDS: dict[Any, str] = {
    int: "a whole number", float: "a number", bool: "true or false", str: "a text in quotes",
    dict: "a table", tuple: "a list",
}  # fmt: skip
_QUOTES = ("'", '"')
_UNQUOTED = re.compile(r"true|false|[+-]?\d+(\.\d+)?([eE][+-]?\d+)?")


def refusals(
    error: ValidationError,
    model: type[BaseModel],
    *,
    noun: str = "key",
    called: Mapping[str, str] = NONE,
    belongs: Mapping[str, str] = NONE,
) -> list[str]:
    """A line on each value that `model` refused.

    `called` renames keys, for values that did not come from a file; `belongs` says of names that are known elsewhere
    where that is.
    """
    return [_line(part, model, noun, called, belongs) for part in error.errors(include_url=False)]


def listed(lines: Sequence[str]) -> str:
    """The lines as one message, of very many the first ones."""
    more = [f"... and {len(lines) - MOST} more errors."] if len(lines) > MOST else []
    return "\n".join([*lines[:MOST], *more])


def rule(model: type[BaseModel], name: str) -> str:
    """What the values of that field must be: "a whole number from 1 to 4"."""
    return _place(model, (name,)).rule


def shown(value: object) -> str:
    """The value on one short line, as TOML writes it: what cannot be printed is written as its number, what is too long
    is cut.
    """
    text = _written(value, DEEPEST)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"


def _line(
    part: ErrorDetails, model: type[BaseModel], noun: str, called: Mapping[str, str], belongs: Mapping[str, str]
) -> str:
    key, value = _key(part["loc"]), part["input"]
    if part["type"] == "extra_forbidden":
        name = str(part["loc"][-1])
        section = _place(model, part["loc"][:-1]).kind
        hint = f"It belongs {belongs[name]}." if name in belongs else did_you_mean(name, section.model_fields)
        return f"unknown {noun} {key if key.endswith(_QUOTES) else repr(key)}. {hint}"
    place = _place(model, part["loc"])
    if part["type"] == "missing":
        return f"{key} is missing; it must be {place.rule}."
    rule = str(part["ctx"]["error"]) if part["type"] == "value_error" else place.rule
    return f"{called.get(key, key) or 'all of it'} must be {rule}, got {shown(value)}.{_hint(place.kind, value)}"


def _key(location: tuple[int | str, ...]) -> str:
    """Dotted; an entry of a list by its number from 1, a name that is no word in quotes."""
    key = ""
    for step in location:
        if isinstance(step, int):
            key += f" entry {step + 1}"
        else:
            key += f"{'.' * bool(key)}{step if re.fullmatch('[A-Za-z0-9_-]{1,60}', step) else shown(step)}"
    return key


@dataclass(frozen=True)
class _Place:
    """What a model says of the values at one place in it."""

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
        else:  # a table's value, a list's entry
            inside = [argument for argument in get_args(kind) if argument is not Ellipsis]
            place = _bare(inside[-1] if inside else object, (), None)
    return place


def _bare(kind: Any, marks: tuple[Any, ...], description: str | None) -> _Place:
    """Without the wrappings of an annotation, which say whether it may be left out and within which bounds it lies."""
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
    found = {type(mark): mark for mark in marks}
    if whole and Lt in found:
        found[Le] = Le(found.pop(Lt).lt - 1)
    if Ge in found and Le in found:
        return f" from {shown(found[Ge].ge)} to {shown(found[Le].le)}"
    words = ((Ge, "ge", "at least"), (Gt, "gt", "above"), (Le, "le", "at most"), (Lt, "lt", "below"))
    said = [f"{word} {shown(getattr(found[kind], name))}" for kind, name, word in words if kind in found]
    return f", {' and '.join(said)}" if said else ""


def _hint(kind: Any, value: object) -> str:
    if get_origin(kind) is Literal and isinstance(value, str):
        near = nearest(value, [option for option in get_args(kind) if isinstance(option, str)])
        return f" Did you mean {near!r}?" if near else ""
    if kind in (int, float, bool) and isinstance(value, str) and _UNQUOTED.fullmatch(value):
        return " Write it without quotes."
    if isinstance(kind, type) and issubclass(kind, BaseModel) and isinstance(value, list):
        return " Write its name in single brackets, and once."
    return ""


def _written(value: object, deep: int) -> str:
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
            text = _within(
                "{",
                [f"{_key((str(name),))} = {_written(one, deep - 1)}" for name, one in _first(value, deep).items()],
                value,
                "}",
            )
        case list() | tuple():
            text = _within(
                "[", [_written(one, deep - 1) for one in _first(dict(enumerate(value)), deep).values()], value, "]"
            )
        case _:
            text = repr(value)
    return text


def _first(entries: dict[Any, Any], deep: int) -> dict[Any, Any]:
    return dict(list(entries.items())[: 10 if deep else 0])


def _within(start: str, said: list[str], value: Sequence[Any] | dict[Any, Any], end: str) -> str:
    return f"{start}{', '.join([*said, '…'] if len(said) < len(value) else said)}{end}"
