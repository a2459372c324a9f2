"""A terminal that shows names from data and files as what they are, text: no markup, no emoji codes, no escape sequences."""

from typing import Any

import rich.console
from rich.text import Text

from search.wording import visible


class Console(rich.console.Console):
    """Rich's, for which a string is only ever text; what is to have a style is a `Text`, or has the style beside it."""

    def __init__(self, *, stderr: bool = False) -> None:
        super().__init__(stderr=stderr, markup=False, emoji=False)

    def render_str(self, text: str, **options: Any) -> Text:
        """The text with that style; all that Rich prints, in tables too, comes through here if it is a string."""
        return super().render_str(visible(text), **options)
