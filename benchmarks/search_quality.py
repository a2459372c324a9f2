"""Claim: freeze-thaw needs a fifth of the training of random search for the same result.

    python benchmarks/search_quality.py [--seeds N] [--budget N] [--only NAME,NAME] [--workers W] [--nearest]
                                        [--space FILE.toml --curves FILE.csv] [--figure FILE]
                                        [--trials-figure FILE] [--json FILE]

Each search trains configurations of the space until its budget of epochs is used up. Trainings take no time: their
curves are interpolated between recorded ones (benchmarks/replay.py). A pruned or paused trial costs the epochs it was
trained for. With several workers an epoch takes its recorded seconds, and a worker that is free goes on while others
train. The result of a search at any time is its complete trial with the best validation F1.

regret   the best true F1 of 32,768 points minus that of the result, in hundredths; a search may find a better point
trials   started within the budget, median
epochs   trained, median; fewer than the budget where the search ended by itself

`standard` and `quick` have the samplers and pruners of those studies. `freeze-thaw after another` begins with the
other recorded table as a prior, `freeze-thaw after nonsense` with the same, its curves shuffled over configurations.
Other pairs of names are this project's sampler and pruner; `tpe` and `gp` alone prune nothing. `defaults` is
optuna.create_study() as it is; `random` prunes nothing; `halving` and `hyperband` are Optuna's pruners with their
defaults on random configurations; `optuna's gp` is its GPSampler with our `percentile`. `one epoch first` trains random
configurations for an epoch and the best three of them to the end. `smac` is SMAC3's multi-fidelity search and needs its
package (pip install smac). With --nearest, a training is the nearest recorded one instead of an interpolation.

`ratio` in the JSON is a fifth of the budget by the epochs after which the median regret of `freeze-thaw` is that of
`random` at the end: above 1 the claim holds.
"""

import sys
from pathlib import Path

if __name__ == "__main__":
    # A script's folder comes first on the path, where `profile` would shadow the standard library's.
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from collections.abc import Callable
from dataclasses import asdict
from functools import cache
from typing import Annotated, Any, Final

import numpy as np
import optuna
import typer
from optuna.pruners import (
    BasePruner,
    HyperbandPruner,
    MedianPruner,
    NopPruner,
    PercentilePruner,
    SuccessiveHalvingPruner,
)
from optuna.samplers import BaseSampler, RandomSampler
from optuna.samplers import GPSampler as OptunasGPSampler
from optuna.samplers import TPESampler as OptunasTPESampler

from benchmarks.curves import CURVES, SPACE, WIDE
from benchmarks.options import CurvesFile, Json, NoData, SpaceFile, sampled_by
from benchmarks.replay import Replay
from benchmarks.replayed_methods import BestAfterOneEpoch, FreezeThawMethod, OptunasMethod, SmacMethod, earlier
from benchmarks.replayed_search import Make, Searched, search
from benchmarks.search_figures import OURS, draw, draw_trials
from benchmarks.table import perform, publish, surroundings, tell
from fmnist.errors import FmnistError
from fmnist.machine import cores
from search.samplers.choose import KEPT
from search.samplers.names import Pruner, Sampler
from search.samplers.prior import Prior
from search.study.spec import StudySpec, load_spec
from search.terminal.table import Table

OTHERS = {SPACE.stem: WIDE, WIDE.stem: CURVES}  # the table that a search of a space begins with
SHARE = 5  # by which the budget of random search is divided
MOMENTS = 60  # at which the regret by seconds is stated
SHOWN = (0.05, 0.1, 0.2, 0.4, 0.6, 1.0)  # of the budget


def optunas(make: Callable[[StudySpec, int], tuple[BaseSampler, BasePruner]]) -> Make:
    """Return a method of a sampler and a pruner."""

    def method(spec: StudySpec, seed: int, replay: Replay) -> OptunasMethod:
        sampler, pruner = make(spec, seed)
        return OptunasMethod(replay, optuna.create_study(direction="maximize", sampler=sampler, pruner=pruner))

    return method


def of_study(name: str) -> Make:
    """Return the method of a study."""
    section = load_spec(name).search
    return ours(section.sampler, section.pruner)


def ours(sampler: Sampler, pruner: Pruner) -> Make:
    """Return a sampler and pruner with this project's settings."""
    if pruner == "freeze-thaw":
        return lambda _, seed, replay: FreezeThawMethod(replay, seed)

    def make(spec: StudySpec, seed: int) -> tuple[BaseSampler, BasePruner]:
        section = spec.search.model_copy(update={"sampler": sampler, "pruner": pruner})
        changed = spec.model_copy(update={"search": section})
        return changed.make_sampler(seed=seed), changed.make_pruner()

    return optunas(make)


def after(*, shuffled: bool = False) -> Make:
    """Return freeze-thaw that begins with the other recorded table."""

    @cache  # the model of the table is fitted once for all seeds
    def prior(replay: Replay) -> Prior:
        if replay.spec.name not in OTHERS:
            raise FmnistError(f"Only searches of {' and '.join(OTHERS)} can begin with another table.")
        return earlier(replay, OTHERS[replay.spec.name], shuffled=shuffled)

    return lambda _, seed, replay: FreezeThawMethod(replay, seed, prior=prior(replay))


def with_rungs(sampler: Sampler, first: int, step: int) -> Make:
    """Return `ours` with percentile, but with rungs every `step` epochs from epoch `first`."""
    rungs = PercentilePruner(KEPT["percentile"], n_startup_trials=4, n_warmup_steps=first, interval_steps=step)
    return optunas(lambda spec, seed: (sampled_by(sampler, spec).make_sampler(seed=seed), rungs))


SEARCHES: Final[dict[str, Make]] = {
    "standard": of_study("standard"),
    "quick": of_study("quick"),
    "freeze-thaw": ours("gp", "freeze-thaw"),
    "freeze-thaw after another": after(),
    "freeze-thaw after nonsense": after(shuffled=True),
    "defaults": optunas(lambda _, seed: (OptunasTPESampler(seed=seed), MedianPruner())),
    "random": optunas(lambda _, seed: (RandomSampler(seed=seed), NopPruner())),
    "halving": optunas(lambda _, seed: (RandomSampler(seed=seed), SuccessiveHalvingPruner())),
    "hyperband": optunas(lambda spec, seed: (RandomSampler(seed=seed), HyperbandPruner(max_resource=spec.epochs))),
    "tpe": ours("tpe", "none"),
    "tpe halving": ours("tpe", "halving"),
    "tpe hyperband": ours("tpe", "hyperband"),
    "tpe from 3": with_rungs("tpe", 3, 1),
    "tpe every 2": with_rungs("tpe", 1, 2),
    "tpe percentile": ours("tpe", "percentile"),
    "gp": ours("gp", "none"),
    "gp median": ours("gp", "median"),
    "gp percentile": ours("gp", "percentile"),
    "gp hyperband": ours("gp", "hyperband"),
    "one epoch first": lambda _, seed, replay: BestAfterOneEpoch(replay, seed),
    "smac": lambda spec, seed, replay: SmacMethod(replay, spec.search.trials, seed),
    "optuna's gp": optunas(lambda spec, seed: (OptunasGPSampler(seed=seed), spec.make_pruner())),
}
USUAL = "freeze-thaw,gp percentile,tpe percentile,defaults,random,halving,hyperband,one epoch first"


def search_quality(
    seeds: Annotated[int, typer.Option(metavar="N", min=3, help="Searches of each kind.")] = 50,
    budget: Annotated[int, typer.Option(metavar="N", min=20, help="Epochs of each search.")] = 450,
    only: Annotated[str, typer.Option(metavar="NAME,NAME", help=f"Names of searches: {', '.join(SEARCHES)}.")] = USUAL,
    data: NoData = "",  # noqa: ARG001
    space: SpaceFile = SPACE,
    curves: CurvesFile = CURVES,
    workers: Annotated[int, typer.Option(metavar="W", min=1, help="Trainings side by side.")] = 1,
    nearest: Annotated[
        bool, typer.Option("--nearest", help="Replay the nearest recorded training instead of interpolating.")
    ] = False,
    figure: Annotated[Path | None, typer.Option(metavar="FILE.png", help="Draw the results over the epochs.")] = None,
    trials_figure: Annotated[
        Path | None, typer.Option(metavar="FILE.png", help="Draw what the first search of the first name trained when.")
    ] = None,
    file: Json = None,
) -> None:
    """Print the table."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    names = _names(only)
    here = surroundings(workers=1, threads=cores())
    tell("Fitting the recorded curves.")
    replay = Replay(curves, space, nearest=nearest)
    fit, best = replay.fit(), replay.best()
    rows = []
    for name in names:
        tell(f"{name}: {seeds} searches.")
        searches = [search(replay, SEARCHES[name], seed, budget, workers=workers) for seed in range(seeds)]
        rows.append(_row(name, searches, best, budget))
        if trials_figure is not None and name == names[0]:
            draw_trials(searches[0].runs, replay.epochs, trials_figure)
    settings = {
        "seeds": seeds,
        "budget": budget,
        "epochs": replay.epochs,
        "nearest": nearest,
        "space": space.name,
        "workers": workers,
        "best": best,
        "fit": asdict(fit),
    }
    figures = {"benchmark": "search_quality", **here, "settings": settings, "rows": rows, "ratio": _ratio(rows, budget)}
    if figure is not None:
        draw(rows, best, figure)
    publish(_table(rows, settings), figures, file)


def _names(only: str) -> list[str]:
    names = [name.strip() for name in only.split(",")]
    if unknown := [name for name in names if name not in SEARCHES]:
        raise FmnistError(
            f"--only must be names of searches, separated by commas, got {unknown[0]!r}. There are: "
            f"{', '.join(SEARCHES)}."
        )
    return names


def _row(name: str, searches: list[Searched], best: float, budget: int) -> dict[str, Any]:
    steps = list(range(1, budget + 1))
    regrets = best - np.array([[searched.at(epochs) for epochs in steps] for searched in searches])
    times = np.geomspace(1, max(searched.seconds[-1] for searched in searches if len(searched.seconds)), MOMENTS)
    at_seconds = [[searched.at_second(time) for time in times] for searched in searches]
    by_seconds = best - np.median(at_seconds, axis=0)
    low, middle, high = (np.percentile(regrets, share, axis=0) for share in (25, 50, 75))
    return {
        "search": name,
        "regret": [float(value) for value in middle],
        "low": [float(value) for value in low],
        "high": [float(value) for value in high],
        "final": [float(value) for value in regrets[:, -1]],
        "trials": float(np.median([len(searched.runs) for searched in searches])),
        "used": float(np.median([searched.used for searched in searches])),
        # Of a core; after so many seconds the median regret of the result was so much.
        "seconds": [float(value) for value in times],
        "regret by seconds": [float(value) for value in by_seconds],
    }


def _ratio(rows: list[dict[str, Any]], budget: int) -> float:
    by_name = {row["search"]: row["regret"] for row in rows}
    if not {OURS, "random"} <= by_name.keys():
        return 1.0
    reached = next(
        (epochs for epochs, regret in enumerate(by_name[OURS], start=1) if regret <= by_name["random"][-1]),
        10 * budget,
    )
    return budget / SHARE / reached


def _table(rows: list[dict[str, Any]], settings: dict[str, Any]) -> Table:
    budgets = [round(share * settings["budget"]) for share in SHOWN]
    cells = [
        (
            row["search"],
            *(f"{row['regret'][epochs - 1] * 100:.2f}" for epochs in budgets),
            f"{row['low'][-1] * 100:.2f}-{row['high'][-1] * 100:.2f}",
            f"{row['trials']:.0f}",
            f"{row['used']:.0f}",
        )
        for row in rows
    ]
    fit = settings["fit"]
    truth = "nearest recorded curve" if settings["nearest"] else "interpolation"
    caption = (
        f"Regret in hundredths of F1 by epochs, median of {settings['seeds']} seeds; at the end their middle half. "
        f"A training has {settings['epochs']} epochs, and the best F1 of 32,768 points is {settings['best']:.4f}. The "
        f"{truth} has an error of {fit['error']:.4f}; two seeds of a configuration differ from their mean by "
        f"{fit['seed_deviation']:.4f}."
    )
    columns = ("search", *(f"{epochs}" for epochs in budgets), "middle half", "trials", "epochs")
    return Table("What each search finds", columns, cells, caption)


if __name__ == "__main__":
    perform(search_quality, __doc__ or "")
