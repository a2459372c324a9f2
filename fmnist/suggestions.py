"""The nearest valid name for a misspelt one, ready to be put behind an error."""

from collections.abc import Iterable
from difflib import get_close_matches


def did_you_mean(name: str, valid: Iterable[str]) -> str:
    """The hint "Did you mean 'x'?", or, where nothing is near, the list of what is valid."""
    options = sorted(valid)
    near = get_close_matches(name, options, n=1, cutoff=0.6)
    return f"Did you mean {near[0]!r}?" if near else f"Valid: {', '.join(options)}."
