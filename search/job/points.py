"""The points of a search against costs: which networks of its front are trained again, and which of them are kept."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from search.samplers.front import Front
from search.samplers.learning_curves import warp
from search.study.front import dominates


@dataclass(frozen=True)
class Scored:
    """A network's F1 and costs."""

    trial: int
    f1: float
    costs: tuple[float, ...]

    def fits(self, other: "Scored") -> bool:
        """Whether it costs no more than the other one."""
        return all(own <= limit for own, limit in zip(self.costs, other.costs, strict=True))


def undominated(scored: Sequence[Scored]) -> list[Scored]:
    """Return those that no other is better than at no more costs, the cheapest first; of equal ones the first."""
    unique = {(entry.f1, entry.costs): entry for entry in reversed(scored)}.values()

    def is_dominated(entry: Scored) -> bool:
        return any(dominates(other.f1, other.costs, entry.f1, entry.costs) for other in unique)

    kept = [entry for entry in unique if not is_dominated(entry)]
    return sorted(kept, key=lambda entry: (entry.costs, entry.trial))


def points_with_rivals(scored: Sequence[Scored], most: int, loss: float) -> list[list[Scored]]:
    """Return the points of the front that are trained again, cheapest first, each before those that may replace it.

    They are the best network, the smallest one that is worse by at most `loss`, and then, until there are `most`, the
    ones that add the largest area below the front. A point's rivals cost no more than it, and more than any cheaper
    point; the best come first.
    """
    front = undominated(scored)
    if not front:
        return []
    best = max(front, key=lambda entry: entry.f1)
    chosen = [best]
    near = min((entry for entry in front if entry.f1 >= best.f1 - loss), key=lambda entry: entry.costs)
    if most > 1 and near is not best:
        chosen.append(near)
    area = Front(np.array([entry.costs for entry in front]))
    while len(chosen) < min(most, len(front)):
        others = [entry for entry in front if entry not in chosen]
        chosen.append(max(others, key=lambda entry: _area(area, [*chosen, entry])))
    chosen.sort(key=lambda entry: entry.costs)
    return [_rivals(point, chosen, scored) for point in chosen]


def _area(front: Front, entries: Sequence[Scored]) -> float:
    values, costs = warp(np.array([entry.f1 for entry in entries])), np.array([entry.costs for entry in entries])
    return float(front.best(values, costs, 0.0).mean())


def _rivals(point: Scored, chosen: Sequence[Scored], scored: Sequence[Scored]) -> list[Scored]:
    cheaper = [other for other in chosen if other is not point and other.fits(point)]
    rivals = [
        entry
        for entry in scored
        if entry is not point and entry.fits(point) and not any(entry.fits(other) for other in cheaper)
    ]
    return [point, *sorted(rivals, key=lambda entry: -entry.f1)]
