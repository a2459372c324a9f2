"""Whether a search has learned anything: its best score against that of random answers."""

import math

from search.study.records import DataRecord


def nothing_learned(best: float | None, data: DataRecord) -> str | None:
    """Return a warning if the best validation F1 of a search is what random answers may have; None without one."""
    if best is None or best >= (limit := by_chance(len(data.class_names), data.valid)):
        return None
    return (
        f"No trial is better than random answers, which have a macro F1 of up to {limit:.2f} on {data.valid:,} images "
        f"of {len(data.class_names)} classes: nothing was learned. Train longer, or look at the images with "
        "fmnist-search data."
    )


def by_chance(classes: int, images: int) -> float:
    """Return the accuracy that random answers stay below in 39 of 40 cases; their macro F1 is hardly ever higher."""
    share = 1 / classes
    return share + 2 * math.sqrt(share * (1 - share) / max(1, images))
