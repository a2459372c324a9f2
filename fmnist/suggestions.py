"""The nearest valid name for a misspelt one, ready to be put behind an error."""

from collections.abc import Iterable
from difflib import get_close_matches

SHOWN = 40  # names
COMPARED = 100  # characters; the time of a comparison grows with the square of the length


def nearest(name: str, valid: Iterable[str]) -> str | None:
    """The valid name that is likely meant, None where none is near; capitals do not count."""
    folded = {option.casefold(): option for option in sorted(valid)}
    near = get_close_matches(name[:COMPARED].casefold(), folded, n=1, cutoff=0.6)
    return folded[near[0]] if near else None


def did_you_mean(name: str, valid: Iterable[str]) -> str:
    """The hint "Did you mean 'x'?", or, where nothing is near, the list of what is valid."""
    options = sorted(valid)
    if (near := nearest(name, options)) is not None:
        return f"Did you mean {near!r}?"
    others = f" and {len(options) - SHOWN} more" if len(options) > SHOWN else ""
    return f"Valid: {', '.join(options[:SHOWN])}{others}."
