"""How figures are said, the same way in the report and while a search runs."""

import math
from collections.abc import Mapping


def duration(seconds: float) -> str:
    """Wall clock in two units: "42 s", "12 min 04 s", "2 h 05 min", "1 d 03 h"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    if whole < 86400:
        return f"{whole // 3600} h {whole % 3600 // 60:02} min"
    return f"{whole // 86400} d {whole % 86400 // 3600:02} h"


def f1(value: float | None) -> str:
    """A score to the fourth decimal, a hundredth of a point; "-" where there is none."""
    return "-" if value is None or math.isnan(value) else f"{value:.4f}"


def setting(value: object) -> str:
    """A knob's value as TOML writes it, floats to three digits."""
    match value:
        case bool():
            return str(value).lower()
        case float():
            return f"{value:.3g}"
        case _:
            return str(value)


def settings(knobs: Mapping[str, object]) -> str:
    """A configuration on one line: "depth=3, filters=48, flip=true"."""
    return ", ".join(f"{name}={setting(value)}" for name, value in knobs.items())


def times(count: int) -> str:
    """How often: "once", "twice", "3 times"."""
    return {1: "once", 2: "twice"}.get(count, f"{count} times")


def counted(count: int, one: str) -> str:
    """A number with its noun in the right form: "1 seed", "1,200 images"."""
    return f"{count:,} {one}" if count == 1 else f"{count:,} {one}s"


def visible(text: str) -> str:
    """The text with nothing in it that could steer a terminal or turn the reading order: blanks for blanks, else a sign
    for "unknown".
    """
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() or char == "\n" else " " if char.isspace() else "\N{REPLACEMENT CHARACTER}"
        for char in text
    )
