"""Find the columns of a table that hold the label and the pixels by their names."""

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
# float() also accepts 1_0, inf and digits of other scripts.
NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)(e[+-]?[0-9]+)?", re.IGNORECASE)
_PIXEL = re.compile(r"((?:pixel|px|p)?[ _-]?)([0-9]{1,7})(?:x([0-9]{1,7}))?", re.ASCII)
_PIXEL_NAMES = "pixel1 to pixel784 (from 0 or 1, as many as a square has), or row x column, 1x1 to 28x28"

Key = tuple[int, ...]  # (number,) or (row, column)


@dataclass(frozen=True)
class Columns:
    """The positions of the label and of each pixel in a table."""

    names: tuple[str, ...]  # of all columns in the table's order, without surrounding blanks
    label: int  # a position in `names`
    pixels: tuple[int, ...]  # positions in `names`: the first row of pixels from left to right, then the second
    height: int
    width: int

    @property
    def ignored(self) -> tuple[str, ...]:
        """Return the columns that are neither label nor pixel."""
        used = {self.label, *self.pixels}
        return tuple(name for position, name in enumerate(self.names) if position not in used)


def find_columns(names: Sequence[str], file: str) -> Columns:
    """Return the label and the pixels among the columns called `names`, in any order.

    Raises: FmnistError if there is not exactly one label column, or the numbers of the pixels have gaps or duplicates.
    """
    stripped = tuple(name.strip() for name in names)
    label = find_label(stripped, file)
    prefix, positions = _pixels(stripped, file)
    height, width = _size(prefix, positions, stripped, file)
    return Columns(stripped, label, tuple(positions[key] for key in sorted(positions)), height, width)


def find_label(names: Sequence[str], file: str) -> int:
    """Return the position of the label column.

    Raises: FmnistError if there is none or more than one, a name occurs twice, or `names` are numbers.
    """
    _require_names(names, file)
    positions = [position for position, name in enumerate(names) if name.strip().lower() == LABEL]
    if len(positions) == 1:
        return positions[0]
    if positions:
        raise FmnistError(
            f"{file} must have one column 'label'; it has {_listed(names[position] for position in positions)}. Rename "
            "all but one."
        )
    others = [name.strip() for name in names if name.strip() and not _PIXEL.fullmatch(name.strip().lower())]
    hint = _nearest(LABEL, others) or (f" Besides pixels it has {_listed(others)}." if others else "")
    raise FmnistError(f"{file} has no column 'label'.{hint} Rename the column with the classes to 'label'.")


def _require_names(names: Sequence[str], file: str) -> None:
    words = [name.strip().lower() for name in names]
    numbers = sum(NUMBER.fullmatch(word) is not None for word in words)
    if numbers and all(NUMBER.fullmatch(word) or word in MISSING_WORDS for word in words):
        raise FmnistError(
            f"{file}: the columns must have names (label, pixel1, ...), in a CSV file in the first line; got numbers. "
            "Add the names."
        )
    # Columns without a name are ignored, so several are valid: rows that end in separators have them.
    counts = Counter(name.strip() for name in names)
    repeated = next((name for name, count in counts.items() if name and count > 1), None)
    if repeated is not None:
        raise FmnistError(
            f"{file}: each column must have a different name; {counts[repeated]} are called {repeated!r}. Rename or "
            "remove all but one; if a CSV file's first line is data already, add a line with the names before it."
        )


def _pixels(names: Sequence[str], file: str) -> tuple[str, dict[Key, int]]:
    """Return the prefix of the pixels' names, and their positions in the table."""
    forms: dict[tuple[str, int], list[tuple[Key, int]]] = {}
    for position, name in enumerate(names):
        if match := _PIXEL.fullmatch(name.lower()):
            prefix, *numbers = match.groups()
            key = tuple(int(number) for number in numbers if number is not None)
            forms.setdefault((prefix, len(key)), []).append((key, position))
    if not forms:
        raise FmnistError(f"{file} has no pixel columns: they must be named {_PIXEL_NAMES}. It has {_listed(names)}.")
    # A single 'p1' or '0' beside 784 columns of another form is not a pixel.
    (prefix, _), pixels = max(forms.items(), key=lambda form: len(form[1]))
    positions: dict[Key, int] = {}
    for key, position in pixels:
        if key in positions:
            raise FmnistError(
                f"{file}: each pixel must have one column; {names[positions[key]]!r} and {names[position]!r} are the "
                "same pixel. Remove or rename one."
            )
        positions[key] = position
    return prefix, positions


def _size(prefix: str, positions: dict[Key, int], names: Sequence[str], file: str) -> tuple[int, int]:
    """Check that no pixel is missing, and return height and width of the images."""
    first = min(1, *(min(key) for key in positions))
    last = [max(numbers) for numbers in zip(*positions, strict=True)]
    extent = [end - first + 1 for end in last]
    if math.prod(extent) != len(positions):
        gap = prefix + "x".join(map(str, next(key for key in _all_keys(first, extent) if key not in positions)))
        hint = _nearest(gap, _unused(positions, names))
        raise FmnistError(f"{file}: pixels must be numbered without gaps; {gap!r} is missing.{hint}")
    if len(extent) == 2:
        return extent[0], extent[1]
    if side := flat_side(len(positions)):
        return side, side
    hint = _nearest(f"{prefix}{last[0] + 1}", _unused(positions, names))
    raise FmnistError(
        f"{file}: pixels with a single number must be a square grey image, such as 28 x 28 = 784; it has "
        f"{len(positions):,}, {prefix}{first} to {prefix}{last[0]}.{hint} {readings(len(positions))}. Name grey pixels "
        "row x column (1x1 to RxC), or save colours as a NumPy file of [N, H, W, 3 or 4]."
    )


def _all_keys(first: int, extent: Sequence[int]) -> Iterable[Key]:
    """Return all keys of that extent in order, lazily, because a mistyped number makes the extent very large."""
    if len(extent) == 1:
        return ((number,) for number in range(first, first + extent[0]))
    return ((row, column) for row in range(first, first + extent[0]) for column in range(first, first + extent[1]))


def _unused(positions: dict[Key, int], names: Sequence[str]) -> list[str]:
    used = set(positions.values())
    return [name for position, name in enumerate(names) if position not in used and name.lower() != LABEL]


def _nearest(name: str, others: Sequence[str]) -> str:
    """Return the hint if a name is near; otherwise "", because `did_you_mean` would list columns that are not valid."""
    return f" {did_you_mean(name, others)}" if get_close_matches(name, others, n=1) else ""


def _listed(names: Iterable[str], at_most: int = 6) -> str:
    quoted = [repr(name) for name in names]
    return ", ".join(quoted[:at_most]) + (f" and {len(quoted) - at_most:,} more" if len(quoted) > at_most else "")
