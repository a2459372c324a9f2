"""Networks of several sizes and what they reach after how many epochs on Fashion-MNIST: studies/sizes.json.

benchmarks/sizes.py writes the file.
"""

import math
from functools import cache
from importlib.resources import files
from itertools import pairwise
from typing import Any

from search.study.sections import Section

FILE = "sizes.json"  # in `studies`


class KnownSize(Section):
    """One configuration, trained with several numbers of epochs."""

    name: str
    knobs: dict[str, Any]
    epochs: tuple[int, ...]  # increasing
    f1: tuple[float, ...]  # on the validation split, after the last epoch of each training

    def after(self, epochs: float) -> float:
        """Return the validation F1 to expect of a training with so many epochs: 1 - F1 is a power of the epochs.

        Between two trainings and beyond the first and last one; beyond these it changes as between the nearest two.
        """
        pairs = list(pairwise(zip(self.epochs, self.f1, strict=True)))
        (low, before), (high, behind) = next((pair for pair in pairs if epochs <= pair[1][0]), pairs[-1])
        slope = math.log((1 - behind) / (1 - before)) / math.log(high / low)
        return 1 - (1 - before) * math.pow(epochs / low, slope)


class KnownSizes(Section):
    """All of them."""

    sizes: tuple[KnownSize, ...]


@cache
def known_sizes() -> tuple[KnownSize, ...]:
    """Return the networks that ship with the package."""
    text = files("studies").joinpath(FILE).read_text(encoding="utf-8")
    return KnownSizes.model_validate_json(text, strict=False).sizes
