"""Trainings on Fashion-MNIST that ship with the package, as a prior of searches: studies/known.json.

benchmarks/known.py writes the file.
"""

from functools import cache
from importlib.resources import files
from typing import Any

from search.study.sections import Section
from search.study.space import Space, read_space

FILE = "known.json"  # in `studies`


class KnownTraining(Section):
    """One training; of several seeds the mean."""

    knobs: dict[str, bool | int | float | str]  # those that the search varied
    f1: tuple[float, ...]  # on the validation split, after each epoch


class KnownSearch(Section):
    """A search, or the recorded trainings of a space."""

    name: str
    epochs: int  # of a whole training
    knobs: dict[str, Any]  # as in the [knobs] of a study
    trainings: tuple[KnownTraining, ...]

    @property
    def space(self) -> Space:
        """Its search space."""
        return read_space(self.knobs, search_unlisted=False, context=f"{FILE}, {self.name}")


class Known(Section):
    """All of them."""

    searches: tuple[KnownSearch, ...]

    @property
    def trainings(self) -> int:
        """How many trainings there are."""
        return sum(len(search.trainings) for search in self.searches)


@cache
def known() -> Known:
    """Return the searches that ship with the package."""
    return Known.model_validate_json(files("studies").joinpath(FILE).read_text(encoding="utf-8"), strict=False)
