"""The format of figures and names, in the report and during a search."""

import math
from collections.abc import Callable, Mapping

from fmnist.knobs import Choice, Knob, Range


def duration(seconds: float) -> str:
    """Format a time in at most two units: "42 s", "12 min 04 s", "2 h 05 min", "1 d 03 h"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    if whole < 86400:
        return f"{whole // 3600} h {whole % 3600 // 60:02} min"
    return f"{whole // 86400} d {whole % 86400 // 3600:02} h"


def f1(value: float | None) -> str:
    """Format a score to four decimals; "-" if there is none."""
    return "-" if value is None or math.isnan(value) else f"{value:.4f}"


def setting(value: object) -> str:
    """Format a knob's value as in TOML, floats to three digits."""
    match value:
        case bool():
            return str(value).lower()
        case float():
            return f"{value:.3g}"
        case _:
            return str(value)


def exact(value: object) -> str:
    """Format a knob's value as in TOML, to its last digit."""
    return repr(value).removesuffix(".0") if isinstance(value, float) else setting(value)


def settings(knobs: Mapping[str, object]) -> str:
    """Format a configuration on one line: "depth=3, filters=48, flip=true"."""
    return ", ".join(f"{name}={setting(value)}" for name, value in knobs.items())


def extent(knob: Knob, write: Callable[[object], str] = setting) -> str:
    """Return the values of a searched knob: "relu, silu", "16 to 48 by 8", "0.001 to 0.1 log"."""
    match knob:
        case Choice(options):
            return ", ".join(write(option) for option in options)
        case Range(low, high, log, step):
            how = " log" if log else f" by {write(step)}" if step is not None and step != 1 else ""
            return f"{write(low)} to {write(high)}{how}"


def amount(value: float) -> str:
    """Format a number that is whole where it is large: "120,300", "0.964"."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def times(count: int) -> str:
    """Return "once", "twice", "3 times"."""
    return {1: "once", 2: "twice"}.get(count, f"{count} times")


def counted(count: int, noun: str) -> str:
    """Return a number with its noun, in the plural if needed: "1 seed", "1,200 images"."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def visible(text: str) -> str:
    """Replace characters that could control a terminal or reverse the reading order, by blanks or U+FFFD."""
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() or char == "\n" else " " if char.isspace() else "\N{REPLACEMENT CHARACTER}"
        for char in text
    )
