"""Claim: one search against parameters finds the front of a search without pauses in half of its epochs.

    python benchmarks/front_quality.py [--seeds N] [--budget N] [--only NAME,NAME] [--workers W]
                                       [--space FILE.toml --curves FILE.csv] [--json FILE]

As in benchmarks/search_quality.py trainings take no time, and each search has the same budget of epochs. Its result at
any time is a front: for each size the complete trial with the best validation F1 of no more parameters. Sizes are 64 on
a logarithmic scale over the space.

gap   the best true F1 of 32,768 points of a size minus that of the result, mean over the sizes, in hundredths; a result
      below 0.80, or none, counts as 0.80

`front` is this project's freeze-thaw against parameters; `three limits` are three searches by freeze-thaw for one
result, within a third, two thirds and all of the logarithmic scale, with a third of the budget each. `nsga2`, `tpe` and
`gp` are Optuna's samplers for two objectives; Optuna cannot prune in such a study.

`ratio` in the JSON is half of the budget by the epochs after which the median gap of `front` is the smallest one that
any of Optuna's samplers has at the end: above 1 the claim holds.
"""

import sys
from pathlib import Path

if __name__ == "__main__":
    # A script's folder comes first on the path, where `profile` would shadow the standard library's.
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import math
import warnings
from collections.abc import Callable, Mapping
from functools import cache
from typing import Annotated, Any, Final

import numpy as np
import optuna
import typer
from numpy.typing import NDArray
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, GPSampler, NSGAIISampler, TPESampler

from benchmarks.curves import WIDE
from benchmarks.options import CurvesFile, Json, NoData, SpaceFile
from benchmarks.replay import Replay
from benchmarks.replayed_methods import FreezeThawMethod, OptunasMethod
from benchmarks.replayed_search import Make, Method, Run, Searched, search
from benchmarks.table import perform, publish, surroundings, tell
from fmnist.config import TrialConfig
from fmnist.errors import FmnistError
from fmnist.machine import cores
from fmnist.network import describe
from search.study.spec import StudySpec
from search.terminal.table import Table

WIDE_SPACE = WIDE.with_suffix(".toml")
CLASSES = 10
# The knobs that parameters depend on.
SHAPING: Final = (
    *("depth", "blocks", "filters", "growth", "conv", "kernel_size"),
    *("batch_norm", "residual", "squeeze", "pool", "head", "hidden"),
)
CELLS = 64
FLOOR = 0.80
SHOWN = (0.1, 0.2, 0.4, 0.6, 0.8, 1.0)  # of the budget


class OptunasFront(OptunasMethod):
    """A sampler of Optuna for F1 and parameters."""

    def __init__(self, replay: Replay, sampler: BaseSampler) -> None:
        super().__init__(replay, optuna.create_study(directions=["maximize", "minimize"], sampler=sampler))
        self._spec = replay.spec

    def goes_on(self, runs: list[Run], run: Run, left: float) -> bool:  # noqa: ARG002
        """Every trial is trained to its end."""
        return True

    def ended(self, run: Run) -> None:
        """Tell its values."""
        self._study.tell(self._trial(run), [run.f1[-1], parameters(self._spec, run.knobs)])


class ThreeLimits:
    """Three searches for one result, one after the other, each for networks of a larger size."""

    def __init__(self, replay: Replay, seed: int, budget: int) -> None:
        low, high = size_range(replay)
        limits = [low * (high / low) ** (part / 3) for part in (1, 2, 3)]
        self._budget = budget
        self._searches = [
            FreezeThawMethod(replay, 3 * seed + part, patience=math.inf, is_allowed=within(replay.spec, limit))
            for part, limit in enumerate(limits)
        ]
        self._part_of: dict[int, int] = {}

    def next_knobs(self, runs: list[Run], left: float) -> Mapping[str, Any] | Run | None:
        """Return the step of the search whose turn it is."""
        part = self._turn(left)
        return self._searches[part].next_knobs(self._own(runs, part), self._left(left))

    def begun(self, run: Run) -> None:
        """Keep which search it is of."""
        self._part_of[run.number] = self._now

    def goes_on(self, runs: list[Run], run: Run, left: float) -> bool:
        """Ask its search."""
        part = self._part_of[run.number]
        return self._searches[part].goes_on(self._own(runs, part), run, self._left(left))

    def ended(self, run: Run) -> None:
        """There is nothing to tell."""

    def _turn(self, left: float) -> int:
        self._now = min(2, int(3 * (self._budget - left) / self._budget))
        return self._now

    def _left(self, left: float) -> float:
        return left % (self._budget / 3) or self._budget / 3

    def _own(self, runs: list[Run], part: int) -> list[Run]:
        return [run for run in runs if self._part_of.get(run.number) == part]


def parameters(spec: StudySpec, knobs: Mapping[str, Any]) -> float:
    """Return the parameters of the network of these knobs."""
    values = {**spec.space.pinned, **knobs}
    return _parameters(tuple((name, values[name]) for name in SHAPING if name in values))


@cache  # a search weighs thousands of candidates for each step
def _parameters(shape: tuple[tuple[str, Any], ...]) -> float:
    return float(describe(TrialConfig.model_construct(**dict(shape)), CLASSES).parameters)


def within(spec: StudySpec, limit: float) -> Callable[[Mapping[str, Any]], bool]:
    """Return what tells whether a network has at most so many parameters."""
    return lambda knobs: parameters(spec, knobs) <= limit


@cache
def scanned(replay: Replay) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the parameters and the true last F1 of many points of the space. Shape: each [points]."""
    points, f1 = replay.scanned()
    return np.array([parameters(replay.spec, knobs) for knobs in points]), f1


def size_range(replay: Replay) -> tuple[float, float]:
    """Return the fewest and the most parameters of the space."""
    sizes, _ = scanned(replay)
    return float(sizes.min()), float(sizes.max())


def optunas(make: Callable[[int], BaseSampler]) -> Callable[[int], Make]:
    """Return the search of a sampler."""
    return lambda _: lambda _spec, seed, replay: OptunasFront(replay, make(seed))


def front(_: int) -> Make:
    """Return this project's search against parameters."""

    def make(spec: StudySpec, seed: int, replay: Replay) -> Method:
        return FreezeThawMethod(replay, seed, patience=math.inf, costs_of=lambda knobs: (parameters(spec, knobs),))

    return make


SEARCHES: Final[dict[str, Callable[[int], Make]]] = {  # budget -> search
    "front": front,
    "three limits": lambda budget: lambda _, seed, replay: ThreeLimits(replay, seed, budget),
    "nsga2": optunas(lambda seed: NSGAIISampler(seed=seed)),
    "tpe": optunas(lambda seed: TPESampler(seed=seed)),
    "gp": optunas(lambda seed: GPSampler(seed=seed)),
}
OPTUNAS = ("nsga2", "tpe", "gp")


def front_quality(
    seeds: Annotated[int, typer.Option(metavar="N", min=1, help="Searches of each kind.")] = 20,
    budget: Annotated[int, typer.Option(metavar="N", min=20, help="Epochs of each search.")] = 640,
    only: Annotated[str, typer.Option(metavar="NAME,NAME", help=f"Names: {', '.join(SEARCHES)}.")] = ",".join(SEARCHES),
    data: NoData = "",  # noqa: ARG001
    space: SpaceFile = WIDE_SPACE,
    curves: CurvesFile = WIDE,
    workers: Annotated[int, typer.Option(metavar="W", min=1, help="Trainings side by side.")] = 1,
    file: Json = None,
) -> None:
    """Print the table."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warnings.simplefilter("ignore", ExperimentalWarning)
    names = [name.strip() for name in only.split(",")]
    if unknown := [name for name in names if name not in SEARCHES]:
        raise FmnistError(f"--only must be of {', '.join(SEARCHES)}, separated by commas, got {unknown[0]!r}.")
    here = surroundings(workers=1, threads=cores())
    tell("Fitting the recorded curves.")
    replay = Replay(curves, space)
    moments = [round(share * budget / 100) for share in range(1, 101)]
    rows = []
    for name in names:
        tell(f"{name}: {seeds} searches.")
        make = SEARCHES[name](budget)
        searches = [search(replay, make, seed, budget, workers=workers) for seed in range(seeds)]
        gaps = np.array([gaps_of(replay, searched, moments) for searched in searches])
        rows.append(
            {
                "search": name,
                "moments": moments,
                "gap": [float(gap) for gap in np.median(gaps, axis=0)],
                "low": [float(gap) for gap in np.percentile(gaps, 25, axis=0)],
                "high": [float(gap) for gap in np.percentile(gaps, 75, axis=0)],
                "trials": float(np.median([len(searched.runs) for searched in searches])),
                "complete": float(np.median([_complete(searched) for searched in searches])),
            }
        )
    settings = {"seeds": seeds, "budget": budget, "epochs": replay.epochs, "space": space.name, "workers": workers}
    figures = {"benchmark": "front_quality", **here, "settings": settings, "rows": rows, "ratio": _ratio(rows, budget)}
    publish(_table(rows, settings), figures, file)


def gaps_of(replay: Replay, searched: Searched, moments: list[int]) -> list[float]:
    """Return the gap of a search after so many epochs each."""
    sizes, true = scanned(replay)
    cells = np.geomspace(sizes.min(), sizes.max(), CELLS)
    best = np.array([true[sizes <= cell * (1 + 1e-9)].max() for cell in cells])
    ended = [run for run in searched.runs if run.state == "complete"]
    when = np.array([run.when[-1] for run in ended], dtype=np.int64)
    value = np.array([run.f1[-1] for run in ended])
    size = np.array([parameters(replay.spec, run.knobs) for run in ended])
    f1 = np.array([replay.truth(run.knobs)[-1] for run in ended])
    gaps = []
    for moment in moments:
        found = np.full(CELLS, FLOOR)
        for index, cell in enumerate(cells):
            at_hand = np.flatnonzero((when <= moment) & (size <= cell * (1 + 1e-9)))
            if len(at_hand):
                found[index] = max(FLOOR, f1[at_hand[value[at_hand].argmax()]])
        gaps.append(float(np.mean(np.maximum(best, FLOOR) - found)))
    return gaps


def _complete(searched: Searched) -> int:
    return sum(run.state == "complete" for run in searched.runs)


def _ratio(rows: list[dict[str, Any]], budget: int) -> float:
    ours = next((row for row in rows if row["search"] == "front"), None)
    others = [row["gap"][-1] for row in rows if row["search"] in OPTUNAS]
    if ours is None or not others:
        return 1.0
    reached = next(
        (epochs for epochs, gap in zip(ours["moments"], ours["gap"], strict=True) if gap <= min(others)), 10 * budget
    )
    return budget / 2 / reached


def _table(rows: list[dict[str, Any]], settings: dict[str, Any]) -> Table:
    shown = [round(100 * share) - 1 for share in SHOWN]
    cells = [
        (
            row["search"],
            *(f"{row['gap'][index] * 100:.2f}" for index in shown),
            f"{row['low'][-1] * 100:.2f}-{row['high'][-1] * 100:.2f}",
            f"{row['trials']:.0f}",
            f"{row['complete']:.0f}",
        )
        for row in rows
    ]
    caption = (
        f"Gap below the best front in hundredths of F1 by epochs, median of {settings['seeds']} seeds; at the end "
        f"their middle half. A training has {settings['epochs']} epochs."
    )
    columns = (
        "search",
        *(f"{round(share * settings['budget'])}" for share in SHOWN),
        "middle half",
        "trials",
        "complete",
    )
    return Table("What front each search finds", columns, cells, caption)


if __name__ == "__main__":
    perform(front_quality, __doc__ or "")
