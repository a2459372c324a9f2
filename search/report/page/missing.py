"""The reason that the page states in place of something that it cannot show."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Missing:
    """Something that is missing, with the reason in a sentence."""

    why: str
