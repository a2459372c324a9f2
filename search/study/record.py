"""Record: a part of a study stored as JSON in its attributes, validated on reading and writing."""

from collections.abc import Mapping
from typing import Any, ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from fmnist.refusals import shown
from search.errors import SearchError

T = TypeVar("T")
R = TypeVar("R", bound="Record")


class Record(BaseModel):
    """A frozen record. Unknown fields, which a later version may have written, are ignored on reading.

    `KEY` is the study's attribute that holds the record, or a list of them; "" if it is only a part of another record.
    """

    KEY: ClassVar[str] = ""
    model_config = ConfigDict(frozen=True, extra="ignore")


def record_in(attributes: Mapping[str, Any], kind: type[R]) -> R | None:
    """Return the record of that kind from a study's attributes, or None if there is none yet.

    Raises: SearchError if this version cannot read it.
    """
    return parse_record(attributes[kind.KEY], kind.KEY, kind) if kind.KEY in attributes else None


def records_in(attributes: Mapping[str, Any], kind: type[R]) -> tuple[R, ...]:
    """Return the records of that kind from a study's attributes, oldest first.

    Raises: SearchError if this version cannot read one.
    """
    return parse_record(attributes.get(kind.KEY, []), kind.KEY, tuple[kind, ...])  # type: ignore[valid-type]


def parse_record(value: Any, key: str, kind: type[T]) -> T:
    """Return the value of attribute `key`, validated as `kind`.

    Raises: SearchError if it is not of that kind.
    """
    try:
        return TypeAdapter(kind).validate_python(value, strict=False)
    except ValidationError as error:
        first = error.errors()[0]
        path = ".".join(str(step) for step in (key, *first["loc"]))
        raise SearchError(
            f"The study's record {shown(path)} cannot be read: {first['msg'].lower()}, got {shown(first['input'])}. "
            "Use the version of fmnist-search that wrote the study."
        ) from None
