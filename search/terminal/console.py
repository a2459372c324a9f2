"""A terminal that shows names from data and files as what they are, text: no markup, no emoji codes, no escape
sequences.
"""

import os
import sys
from io import TextIOWrapper
from typing import Any, Literal

import rich.console
from rich.text import Text

from search.terminal.wording import visible


def replace_unprintable() -> None:
    """Characters that the terminal's encoding lacks are printed as "?" from now on: a result is never lost for a
    character.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")


class Console(rich.console.Console):
    """Rich's, for which a string is only ever text; what is to have a style is a `Text`, or has the style beside it."""

    def __init__(self, *, stderr: bool = False) -> None:
        # Rich itself leaves bold and dim where NO_COLOR is set, which a log that asked for plain text shows as signs.
        colours: Literal["auto"] | None = None if os.environ.get("NO_COLOR") else "auto"
        super().__init__(stderr=stderr, markup=False, emoji=False, color_system=colours)

    def render_str(self, text: str, **options: Any) -> Text:
        """The text with that style; all that Rich prints, in tables too, comes through here if it is a string."""
        return super().render_str(visible(text), **options)
