"""A console that prints names from data and files as plain text: no markup, emoji codes or escape sequences."""

import os
import sys
from io import TextIOWrapper
from typing import Any, Literal

import rich.console
from rich.text import Text

from search.terminal.wording import visible


def replace_unprintable() -> None:
    """Print "?" for characters that the terminal's encoding does not have, instead of raising an error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")


class Console(rich.console.Console):
    """A Rich console that treats strings as plain text; styled text must be a `Text`, or have a `style` argument."""

    def __init__(self, *, stderr: bool = False) -> None:
        # With NO_COLOR, Rich still emits bold and dim, which a plain-text log shows as escape codes.
        colours: Literal["auto"] | None = None if os.environ.get("NO_COLOR") else "auto"
        super().__init__(stderr=stderr, markup=False, emoji=False, color_system=colours)

    def render_str(self, text: str, **options: Any) -> Text:
        """Return the text with that style. Rich calls this for every string that it prints, also in tables."""
        return super().render_str(visible(text), **options)
