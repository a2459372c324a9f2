"""Claim: the search of `standard` needs a fifth of the training of random search for the same result.

    python benchmarks/search_quality.py [--seeds N] [--budget N] [--only NAME,NAME] [--nearest] [--figure FILE]
                                        [--json FILE]        8 minutes

Each search trains configurations of curves.toml one after another until its budget of epochs is used up. Trainings take
no time: their curves are interpolated between recorded ones (benchmarks/replay.py). A pruned trial costs the epochs it
was trained for. The result of a search at any time is its complete trial with the best validation F1.

regret   the best true F1 of 32,768 points minus that of the result, in hundredths; a search may find a better point
trials   started within the budget, median

`standard` and `quick` have the samplers and pruners of those studies. Other pairs of names are this project's sampler
and pruner; `tpe` and `gp` alone prune nothing. `defaults` is optuna.create_study() as it is; `random` prunes nothing;
`halving` and `hyperband` are Optuna's pruners with their defaults on random configurations; `optuna's gp` is its
GPSampler with our `percentile`. With --nearest, a training is the nearest recorded one instead of an interpolation.

`ratio` in the JSON is a fifth of the budget by the epochs after which the median regret of `standard` is that of
`random` at the end: above 1 the claim holds.
"""

import sys
from pathlib import Path

if __name__ == "__main__":
    # A script's folder comes first on the path, where `profile` would shadow the standard library's.
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, Any, Final

import numpy as np
import optuna
import typer
from matplotlib.figure import Figure
from numpy.typing import NDArray
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
from optuna.trial import TrialState

from benchmarks.options import Json, NoData
from benchmarks.replay import Replay
from benchmarks.table import perform, publish, surroundings, tell
from fmnist.errors import FmnistError
from fmnist.machine import cores
from search.samplers.choose import KEPT
from search.samplers.names import Pruner, Sampler
from search.study.spec import StudySpec, load_spec
from search.terminal.table import Table

SHARE = 5  # by which the budget of random search is divided
LEFT, HEIGHT = 30, 0.03  # of the figure: its first epoch, and its range of F1 below the best
TICKS = (30, 50, 100, 200, 400, 800, 1600)
SHOWN = (0.05, 0.1, 0.2, 0.4, 0.6, 1.0)  # of the budget
Make = Callable[[StudySpec, int], tuple[BaseSampler, BasePruner]]


def of_study(name: str) -> Make:
    """Return the sampler and pruner of a study."""
    section = load_spec(name).search
    return ours(section.sampler, section.pruner)


def ours(sampler: Sampler, pruner: Pruner) -> Make:
    """Return a sampler and pruner with this project's settings."""

    def make(spec: StudySpec, seed: int) -> tuple[BaseSampler, BasePruner]:
        section = spec.search.model_copy(update={"sampler": sampler, "pruner": pruner})
        changed = spec.model_copy(update={"search": section})
        return changed.make_sampler(seed=seed), changed.make_pruner()

    return make


def with_rungs(sampler: Sampler, first: int, step: int) -> Make:
    """Return `ours` with percentile, but with rungs every `step` epochs from epoch `first`."""

    def make(spec: StudySpec, seed: int) -> tuple[BaseSampler, BasePruner]:
        made, _ = ours(sampler, "percentile")(spec, seed)
        return made, PercentilePruner(KEPT["percentile"], n_startup_trials=4, n_warmup_steps=first, interval_steps=step)

    return make


SEARCHES: Final[dict[str, Make]] = {
    "standard": of_study("standard"),
    "quick": of_study("quick"),
    "defaults": lambda _, seed: (OptunasTPESampler(seed=seed), MedianPruner()),
    "random": lambda _, seed: (RandomSampler(seed=seed), NopPruner()),
    "halving": lambda _, seed: (RandomSampler(seed=seed), SuccessiveHalvingPruner()),
    "hyperband": lambda spec, seed: (RandomSampler(seed=seed), HyperbandPruner(max_resource=spec.epochs)),
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
    "optuna's gp": lambda spec, seed: (OptunasGPSampler(seed=seed), spec.make_pruner()),
}
USUAL = "standard,tpe percentile,defaults,random,halving,hyperband"


@dataclass(frozen=True)
class Searched:
    """One search: after `epochs[i]` epochs the true F1 of its result was `f1[i]`."""

    epochs: NDArray[np.int64]
    f1: NDArray[np.float64]
    study: optuna.Study
    trials: int

    def at(self, epochs: float) -> float:
        """Return the true F1 of its result after that many epochs, or 0 before the first complete trial."""
        count = int(np.searchsorted(self.epochs, epochs, side="right"))
        return float(self.f1[count - 1]) if count else 0.0


def search_quality(
    seeds: Annotated[int, typer.Option(metavar="N", min=3, help="Searches of each kind.")] = 50,
    budget: Annotated[int, typer.Option(metavar="N", min=20, help="Epochs of each search.")] = 450,
    only: Annotated[str, typer.Option(metavar="NAME,NAME", help=f"Names of searches: {', '.join(SEARCHES)}.")] = USUAL,
    data: NoData = "",  # noqa: ARG001
    nearest: Annotated[
        bool, typer.Option("--nearest", help="Replay the nearest recorded training instead of interpolating.")
    ] = False,
    figure: Annotated[Path | None, typer.Option(metavar="FILE.png", help="Draw the results over the epochs.")] = None,
    file: Json = None,
) -> None:
    """Print the table."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    names = _names(only)
    here = surroundings(workers=1, threads=cores())
    tell("Fitting the recorded curves.")
    replay = Replay(nearest=nearest)
    fit, best = replay.fit(), replay.best()
    rows = []
    for name in names:
        tell(f"{name}: {seeds} searches.")
        rows.append(_row(name, [search(replay, SEARCHES[name], seed, budget) for seed in range(seeds)], best, budget))
    settings = {
        "seeds": seeds,
        "budget": budget,
        "epochs": replay.epochs,
        "nearest": nearest,
        "best": best,
        "fit": asdict(fit),
    }
    figures = {"benchmark": "search_quality", **here, "settings": settings, "rows": rows, "ratio": _ratio(rows, budget)}
    if figure is not None:
        draw(rows, best, figure)
    publish(_table(rows, settings), figures, file)


def search(replay: Replay, make: Make, seed: int, budget: int, most: float = math.inf) -> Searched:
    """Run one search with a budget of epochs and at most `most` trials."""
    spec = replay.spec.overridden(trials=budget // replay.epochs)
    sampler, pruner = make(spec, seed)
    study = optuna.create_study(study_name=f"search {seed}", direction="maximize", sampler=sampler, pruner=pruner)
    used, best, epochs_used, true_f1, trials = 0, -1.0, [], [], 0
    while used < budget and trials < most:
        trial = study.ask(spec.space.distributions())
        trials += 1
        state = TrialState.COMPLETE
        curve = replay.training(trial.params, np.random.default_rng([seed, trial.number]))
        for epoch, value in enumerate(curve, start=1):
            trial.report(float(value), step=epoch)
            used += 1
            if epoch < replay.epochs and trial.should_prune():
                state = TrialState.PRUNED
                break
        last = float(value)
        study.tell(trial, last if state == TrialState.COMPLETE else None, state=state)
        if state == TrialState.COMPLETE and last > best:
            best = last
            epochs_used.append(used)
            true_f1.append(replay.truth(trial.params)[-1])
    return Searched(np.array(epochs_used), np.array(true_f1), study, trials)


def draw(rows: Sequence[Mapping[str, Any]], best: float, path: Path) -> None:
    """Draw the median F1 of the result of each search over its epochs, as a PNG."""
    figure = Figure((8, 4.5), layout="constrained")
    axes = figure.subplots()
    for row in rows:
        regret = np.array(row["regret"])
        epochs = np.arange(1, len(regret) + 1)
        is_ours = row["search"] == "standard"
        axes.plot(
            epochs,
            best - regret,
            label=row["search"],
            linewidth=2.5 if is_ours else 1.2,
            linestyle="-" if is_ours else "--",
        )
        if row["search"] == "standard":
            axes.fill_between(epochs, best - np.array(row["high"]), best - np.array(row["low"]), alpha=0.15)
    axes.axhline(best, color="0.6", linewidth=0.8)
    axes.set(xscale="log", xlim=(LEFT, len(regret)), ylim=(best - HEIGHT, best + 0.001))
    axes.set_xticks(ticks := [tick for tick in TICKS if tick < len(regret)], [f"{tick:,}" for tick in ticks])
    axes.minorticks_off()
    axes.set(xlabel="epochs trained", ylabel="true macro F1 of the result, median")
    axes.grid(color="0.9", linewidth=0.6)
    axes.legend(loc="lower right", frameon=False)
    figure.savefig(path, dpi=120)


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
    low, middle, high = (np.percentile(regrets, share, axis=0) for share in (25, 50, 75))
    return {
        "search": name,
        "regret": [float(value) for value in middle],
        "low": [float(value) for value in low],
        "high": [float(value) for value in high],
        "final": [float(value) for value in regrets[:, -1]],
        "trials": float(np.median([searched.trials for searched in searches])),
    }


def _ratio(rows: list[dict[str, Any]], budget: int) -> float:
    by_name = {row["search"]: row["regret"] for row in rows}
    if not {"standard", "random"} <= by_name.keys():
        return 1.0
    reached = next(
        (epochs for epochs, regret in enumerate(by_name["standard"], start=1) if regret <= by_name["random"][-1]),
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
    columns = ("search", *(f"{epochs}" for epochs in budgets), "middle half", "trials")
    return Table("What each search finds", columns, cells, caption)


if __name__ == "__main__":
    perform(search_quality, __doc__ or "")
