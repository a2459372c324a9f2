"""The nearest valid name for a misspelt one, ready to be put behind an error."""

from collections.abc import Iterable
from difflib import get_close_matches

SHOWN = 40  # names


def did_you_mean(name: str, valid: Iterable[str]) -> str:
    """The hint "Did you mean 'x'?", or, where nothing is near, the list of what is valid."""
    options = sorted(valid)
    near = get_close_matches(name, options, n=1, cutoff=0.6)
    if near:
        return f"Did you mean {near[0]!r}?"
    others = f" and {len(options) - SHOWN} more" if len(options) > SHOWN else ""
    return f"Valid: {', '.join(options[:SHOWN])}{others}."
