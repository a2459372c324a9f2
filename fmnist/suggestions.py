"""Hints for misspelt names."""

from collections.abc import Iterable
from difflib import get_close_matches

SHOWN = 40  # names
COMPARED = 100  # characters; the time of a comparison grows quadratically


def nearest(name: str, valid: Iterable[str]) -> str | None:
    """Return the most similar valid name, ignoring case, or None if none is similar."""
    folded = {option.casefold(): option for option in sorted(valid)}
    matches = get_close_matches(name[:COMPARED].casefold(), folded, n=1, cutoff=0.6)
    return folded[matches[0]] if matches else None


def did_you_mean(name: str, valid: Iterable[str]) -> str:
    """Return "Did you mean 'x'?", or the list of valid names if none is similar."""
    options = sorted(valid)
    if (match := nearest(name, options)) is not None:
        return f"Did you mean {match!r}?"
    others = f" and {len(options) - SHOWN} more" if len(options) > SHOWN else ""
    return f"Valid: {', '.join(options[:SHOWN])}{others}."
