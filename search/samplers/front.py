"""What a search looks for: the best value, or with costs the best value at every cost, its front.

A training promises the hypervolume that it is expected to add under the front. Its costs are known beforehand, and its
value is normal; so that is the mean, over all costs that are no lower than its own, of the expected improvement of the
best value there. Costs are on a logarithmic scale: to halve a network counts the same whatever its size.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

Floats = NDArray[np.float64]
CELLS = {0: 1, 1: 64, 2: 24}  # of each cost's scale, by the number of costs
DEPTH = 1.5  # in y below the best: where no network is known the front counts as so low


class Front:
    """The costs that a search looks at, as cells: each stands for networks that cost no more than it."""

    def __init__(self, costs: Floats) -> None:
        """Divide the range of these costs. Shape: [networks, costs]."""
        self.costs = costs.shape[1]
        logs = np.log(costs)
        scales = [np.linspace(column.min(), column.max(), CELLS[self.costs]) for column in logs.T]
        grid = np.meshgrid(*scales, indexing="ij")
        self._cells = np.stack([axis.ravel() for axis in grid], axis=1) if scales else np.zeros((1, 0))

    @property
    def is_flat(self) -> bool:
        """Whether all networks have the same of some cost, so that there is no front over it."""
        return bool((self._cells.min(axis=0, initial=np.inf) == self._cells.max(axis=0, initial=-np.inf)).any())

    def best(self, values: Floats, costs: Floats, otherwise: float) -> Floats:
        """Return the best value in each cell, DEPTH below the best of all where none is; `otherwise` with no values.

        Shape: values [networks], costs [networks, costs]; returned [cells].
        """
        if not len(values):
            return np.full(len(self._cells), otherwise)
        floor = values.max() - DEPTH
        return np.asarray(np.maximum(np.where(self._covers(costs), values[:, None], -np.inf).max(axis=0), floor))

    def improvement(self, mean: Floats, sd: Floats, costs: Floats, best: Floats) -> Floats:
        """Return the expected improvement of each network. Shape: each [networks], costs [networks, costs]."""
        expected = _improved(mean[:, None], sd[:, None], best[None])
        return np.asarray(np.where(self._covers(costs), expected, 0.0).mean(axis=1))

    def rival(self, costs: Floats, best: Floats) -> float | None:
        """Return the best value of a network that costs no more; None if there is none. Shape: [costs]."""
        found = float(best[self._covers(costs[None])[0]].min(initial=best.max()))
        return found if not self.costs or found > best.max() - DEPTH else None

    def holders(self, values: Floats, costs: Floats, most: int) -> NDArray[np.int64]:
        """Return the networks that are the best in a cell, `most` of them spread over the costs; without costs the
        `most` best ones.
        """
        if not self.costs or not len(values):
            return np.argsort(-values)[:most]
        covers = self._covers(costs)
        found = np.unique(np.where(covers, values[:, None], -np.inf).argmax(axis=0)[covers.any(axis=0)])
        by_cost = found[np.argsort(costs[found].sum(axis=1))]
        spread = np.linspace(0, len(by_cost) - 1, min(most, len(by_cost))).round().astype(int)
        return np.asarray(by_cost[np.unique(spread)])

    def _covers(self, costs: Floats) -> NDArray[np.bool_]:
        """Return whether a network costs no more than a cell. Shape: [networks, cells]."""
        return np.asarray((np.log(costs)[:, None] <= self._cells[None] + 1e-9).all(axis=2))


def _improved(mean: Any, sd: Any, best: Any) -> Any:
    z = (mean - best) / sd
    return (mean - best) * ndtr(z) + sd * np.exp(-0.5 * z**2) / np.sqrt(2 * np.pi)
