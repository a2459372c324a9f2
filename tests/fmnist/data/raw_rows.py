"""Raw rows for tests of cleaning, and what cleaning found in them."""

from typing import Any

import numpy as np

from fmnist.data.clean import Cleaned, clean
from fmnist.data.cleaning import CleaningRules
from fmnist.data.raw import Raw

WHERE = ("train.csv", "test.csv")


def raw(labels: list[str], *, seed: int = 0, **more: Any) -> Raw:
    pixels = np.random.default_rng(seed).integers(1, 256, (len(labels), 28, 28)).astype(np.uint8)
    return Raw(pixels, np.array(labels, np.str_), **more)


def cleaned(train: Raw, test: Raw | None = None, **rules: Any) -> Cleaned:
    test = test or raw(sorted(set(train.labels.tolist()) - {""}), seed=99)
    return clean(train, test, CleaningRules(**rules), where=WHERE)


def counts(result: Cleaned) -> dict[str, tuple[int, int]]:
    """Return the images of train and of test that each rule caught, without rules that caught none."""
    return {caught.rule: (caught.train, caught.test) for caught in result.report.caught if caught.train or caught.test}


def examples(result: Cleaned, rule: str) -> tuple[str, ...]:
    return next(caught.examples for caught in result.report.caught if caught.rule == rule)


def gaps_in(train: Raw, gaps: list[tuple[int, int, int]]) -> Raw:
    missing = np.zeros(train.pixels.shape, np.bool_)
    for row, y, x in gaps:
        missing[row, y, x] = True
    return Raw(np.where(missing, 0, train.pixels).astype(np.uint8), train.labels, missing)
