"""Which columns of a table hold the label and which the pixels, told by their names."""

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from fmnist.data.flat import flat_side, readings
from fmnist.data.raw import MISSING_WORDS
from fmnist.errors import FmnistError
from fmnist.suggestions import did_you_mean

LABEL = "label"
NUMBER = re.compile(
    r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)(e[+-]?[0-9]+)?", re.IGNORECASE
)  # float() also takes 1_0, inf and other scripts
_PIXEL = re.compile(r"((?:pixel|px|p)?[ _-]?)([0-9]{1,7})(?:x([0-9]{1,7}))?", re.ASCII)
_NAMED_LIKE = "pixel1 to pixel784 (from 0 or 1, as many as a square has), or row x column, 1x1 to 28x28"

Key = tuple[int, ...]  # (number,) or (row, column)


@dataclass(frozen=True)
class Columns:
    """Where in a table the label and each pixel are."""

    names: tuple[str, ...]  # of all columns as the table has them, without surrounding blanks
    label: int  # a position in `names`
    pixels: tuple[int, ...]  # positions in `names`: the first row of pixels from left to right, then the second
    height: int
    width: int

    @property
    def ignored(self) -> tuple[str, ...]:
        """The columns that are neither label nor pixel."""
        used = {self.label, *self.pixels}
        return tuple(name for position, name in enumerate(self.names) if position not in used)


def find_columns(names: Sequence[str], file: str) -> Columns:
    """The label and the pixels among the columns called `names`, whatever their order.

    Raises: FmnistError where there is not one label column, or the pixels are not numbered without gaps and doubles.
    """
    stripped = tuple(name.strip() for name in names)
    label = find_label(stripped, file)
    prefix, found = _pixels(stripped, file)
    height, width = _size(prefix, found, stripped, file)
    return Columns(stripped, label, tuple(found[key] for key in sorted(found)), height, width)


def find_label(names: Sequence[str], file: str) -> int:
    """The position of the one label column.

    Raises: FmnistError where there is none or more than one, a name is there twice, or `names` are no names.
    """
    _require_names(names, file)
    positions = [position for position, name in enumerate(names) if name.strip().lower() == LABEL]
    if len(positions) == 1:
        return positions[0]
    if positions:
        raise FmnistError(
            f"{file} must have one column 'label'; it has {_listed(names[p] for p in positions)}. Rename all but one."
        )
    others = [name.strip() for name in names if name.strip() and not _PIXEL.fullmatch(name.strip().lower())]
    hint = _nearest(LABEL, others) or (f" Besides pixels it has {_listed(others)}." if others else "")
    raise FmnistError(f"{file} has no column 'label'.{hint} Rename the column that holds the classes to 'label'.")


def _require_names(names: Sequence[str], file: str) -> None:
    words = [name.strip().lower() for name in names]
    numbers = sum(NUMBER.fullmatch(word) is not None for word in words)
    if numbers and all(NUMBER.fullmatch(word) or word in MISSING_WORDS for word in words):
        raise FmnistError(
            f"{file}: the columns must have names (label, pixel1, ...), in a CSV file in the first line; got numbers. "
            "Add them."
        )
    # A column without a name is ignored, and so may be there more than once: rows that end in separators are like that.
    double = next((name for name, count in Counter(name.strip() for name in names).items() if name and count > 1), None)
    if double is not None:
        raise FmnistError(
            f"{file}: each column must have a name of its own; {[name.strip() for name in names].count(double)} are "
            f"called {double!r}. "
            "Rename or remove all but one; if a CSV file's first line is data already, put one with the names before "
            "it."
        )


def _pixels(names: Sequence[str], file: str) -> tuple[str, dict[Key, int]]:
    """The prefix of the pixels' names, and their positions in the table."""
    forms: dict[tuple[str, int], list[tuple[Key, int]]] = {}
    for position, name in enumerate(names):
        if match := _PIXEL.fullmatch(name.lower()):
            prefix, *numbers = match.groups()
            key = tuple(int(number) for number in numbers if number is not None)
            forms.setdefault((prefix, len(key)), []).append((key, position))
    if not forms:
        raise FmnistError(f"{file} has no pixel columns: they must be named {_NAMED_LIKE}. It has {_listed(names)}.")
    # A stray 'p1' or '0' beside 784 of another form is an ignored column.
    (prefix, _), pixels = max(forms.items(), key=lambda form: len(form[1]))
    found: dict[Key, int] = {}
    for key, position in pixels:
        if key in found:
            twice = f"{names[found[key]]!r} and {names[position]!r}"
            raise FmnistError(
                f"{file}: each pixel must have one column; {twice} are the same pixel. Remove or rename one."
            )
        found[key] = position
    return prefix, found


def _size(prefix: str, found: dict[Key, int], names: Sequence[str], file: str) -> tuple[int, int]:
    """Height and width of the images, once it is certain that no pixel is missing."""
    first = min(min(key) for key in found)
    first = min(first, 1)
    last = [max(numbers) for numbers in zip(*found, strict=True)]
    extent = [end - first + 1 for end in last]
    if math.prod(extent) != len(found):
        gap = prefix + "x".join(map(str, next(key for key in _counted(first, extent) if key not in found)))
        raise FmnistError(
            f"{file}: pixels must be numbered without gaps; {gap!r} is missing.{_nearest(gap, _unused(found, names))}"
        )
    if len(extent) == 2:
        return extent[0], extent[1]
    if side := flat_side(len(found)):
        return side, side
    beyond = _nearest(f"{prefix}{last[0] + 1}", _unused(found, names))
    raise FmnistError(
        f"{file}: pixels that are only numbered must be a square grey image, as 28 x 28 = 784 are; it has "
        f"{len(found):,}, "
        f"{prefix}{first} to {prefix}{last[0]}.{beyond} {readings(len(found))}. Name grey pixels row x column (1x1 to "
        "RxC), "
        "or save colours as a NumPy file of [N, H, W, 3 or 4]."
    )


def _counted(first: int, extent: Sequence[int]) -> Iterable[Key]:
    """All keys of a table of that extent in order; one by one, for a mistyped number makes the extent very large."""
    if len(extent) == 1:
        return ((number,) for number in range(first, first + extent[0]))
    return ((row, column) for row in range(first, first + extent[0]) for column in range(first, first + extent[1]))


def _unused(found: dict[Key, int], names: Sequence[str]) -> list[str]:
    used = set(found.values())
    return [name for position, name in enumerate(names) if position not in used and name.lower() != LABEL]


def _nearest(name: str, others: Sequence[str]) -> str:
    """The hint where a name is near; "" where `did_you_mean` would list all, for no other column is a valid pixel or
    label.
    """
    return f" {did_you_mean(name, others)}" if get_close_matches(name, others, n=1) else ""


def _listed(names: Iterable[str], at_most: int = 6) -> str:
    quoted = [repr(name) for name in names]
    return ", ".join(quoted[:at_most]) + (f" and {len(quoted) - at_most:,} more" if len(quoted) > at_most else "")
