"""Settings of knobs on the command line: dropout=0.2, filters=24..64, activation=relu,silu, lr=0.001..0.01."""

from collections.abc import Mapping
from typing import Any

from fmnist.config import knob_fields, knobs
from fmnist.errors import FmnistError
from fmnist.knobs import Range
from fmnist.refusals import LONGEST, shown
from search.errors import SearchError
from search.study.space import SHORT, read_space
from search.study.toml_files import read_toml

QUOTES = "'\""
OPENING = "[{" + QUOTES  # what a TOML value begins with that may hold commas and dots
BETWEEN = ".."
WHOLE = 1e-9  # tolerance for decimals that are not exact floats


def as_list(wish: Any) -> list[str]:
    """Return the values of an option that takes several: each may be a text with commas between them."""
    given = [wish] if isinstance(wish, str | int | float) else wish
    return [part.strip() for each in given for part in str(each).split(",")]


def read_setting(setting: str, entries: Mapping[str, Any], *, option: str = "--set") -> tuple[str, Any]:
    """Return the knob and its entry under [knobs], validated.

    Args:
        setting: The knob or its short name, "=", and a TOML value, a bare word, several of these separated by commas,
            or LOW..HIGH.
        entries: The study's own; a range LOW..HIGH keeps the scale and, where it fits, the step that the knob has
            there, else those of its declared range.
        option: What it was given to, for errors.

    Raises: SearchError.
    """
    given, equals, text = (part.strip() for part in setting.partition("="))
    if not equals or not given or not text:
        raise SearchError(f"{option} takes knob=value, got {shown(setting)}. For example: {option} dropout=0.2")
    context = f"{option} {setting if setting.isprintable() and len(setting) <= LONGEST else shown(setting)}"
    name = SHORT.get(given, given)
    if text[0] not in OPENING and BETWEEN in text:
        entry: Any = _range(name, text, entries.get(name), context)
    elif text[0] not in OPENING and "," in text:
        entry = [_value(part.strip(), context) for part in text.split(",")]
    elif text[0] in QUOTES and "," in text:  # "relu","silu"
        entry = _values(text, context)
    else:
        entry = _value(text, context)
    read_space({name: entry}, search_unlisted=False, context=context)
    return name, entry


def _value(text: str, context: str) -> Any:
    try:
        values = read_toml(f"value = {text}", context)
    except SearchError as error:
        if text[:1] and text[0] in OPENING:
            raise SearchError(
                f'{error} Words in lists and tables need quotes, as in --set \'head=["max", "avg"]\'.'
            ) from None
        return text  # a bare word, such as head=max
    return values["value"] if len(values) == 1 else text


def _values(text: str, context: str) -> Any:
    try:
        return read_toml(f"values = [{text}]", context)["values"]
    except SearchError:
        return _value(text, context)  # whose error is that of what was written


def _range(name: str, text: str, entry: Any, context: str) -> dict[str, Any]:
    low, high = (_value(part.strip(), context) for part in text.split(BETWEEN, 1))
    ends = {"low": low, "high": high}
    read_space({name: ends}, search_unlisted=False, context=context)
    own = _as_range(name, entry) or knobs().get(name)
    if not isinstance(own, Range):
        return ends
    if own.log and low > 0:
        return ends | {"log": True}
    steps = (high - low) / own.step if own.step else 0.5
    return ends | ({"step": own.step} if steps >= 1 and abs(steps - round(steps)) < WHOLE else {})


def _as_range(name: str, entry: Any) -> Range | None:
    if name not in knob_fields() or entry is None:
        return None
    try:
        found = read_space({name: entry}, search_unlisted=False, context=name).knobs.get(name)
    except FmnistError:  # the study has the error, and will report it
        return None
    return found if isinstance(found, Range) else None
