"""What the page has to say in place of something that it cannot show."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Missing:
    """Something that is not there, and why, in a sentence."""

    why: str
