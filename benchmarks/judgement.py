"""Claim: pruning ends few of the best trials, and the confirm stage removes the optimism of the search.

    python benchmarks/judgement.py [--seeds N] [--budget N] [--json FILE]        about 10 minutes on two cores

Searches are replayed on recorded curves as in search_quality.py.

Pruning: the same random configurations under each pruner; without pruning they would take the whole budget.

epochs       share of the budget that was trained
kept         share of the trials that were completed
killed       share of the true best 5 % of the trials that were pruned: in all, and after epoch 1, 2, 3 and later

Rungs: Spearman's rank correlation of F1 after an epoch with F1 after the last epoch, over all recorded trainings and
over the better half.

Confirm: the best `top` trials of a search (TPE with percentile) are trained again with fresh seeds, and the trial with
the best mean wins. A `top` of 1 is no confirm stage: the best trial of the search wins with its value.

cost         epochs of the stage as a share of those of the search
optimism     the value by which the winner was selected minus its true F1, in hundredths, mean over the searches
regret       the best F1 minus the true F1 of the winner, in hundredths, mean over the searches

`ratio` in the JSON is the optimism without a confirm stage by that with the stage of `standard`.
"""

import sys
from pathlib import Path

if __name__ == "__main__":
    # A script's folder comes first on the path, where `profile` would shadow the standard library's.
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from itertools import product
from statistics import mean
from typing import Annotated, Any, Final

import numpy as np
import optuna
import typer
from rich.console import Console
from scipy.stats import spearmanr

from benchmarks.options import Json, NoData
from benchmarks.replay import Replay
from benchmarks.replayed_search import Make, search
from benchmarks.search_quality import SEARCHES, ours, with_rungs
from benchmarks.table import perform, publish, surroundings, tell
from fmnist.machine import cores
from search.report.render import print_table
from search.study.spec import load_spec
from search.terminal.table import Table

BEST = 0.05  # of the trials
PRUNERS: Final[dict[str, Make]] = {
    "percentile": ours("random", "percentile"),
    "percentile from 3": with_rungs("random", 3, 1),
    "percentile every 2": with_rungs("random", 1, 2),
    "hyperband": ours("random", "hyperband"),
    "median": ours("random", "median"),
    "halving": ours("random", "halving"),
    "patient": ours("random", "patient"),
    "Optuna's hyperband": SEARCHES["hyperband"],
    "Optuna's halving": SEARCHES["halving"],
}
TOPS, SEEDS = (2, 3, 5, 10), (1, 2, 3, 5)


def judgement(
    seeds: Annotated[int, typer.Option(metavar="N", min=3, help="Searches of each kind.")] = 50,
    budget: Annotated[int, typer.Option(metavar="N", min=90, help="Epochs of each search.")] = 900,
    data: NoData = "",  # noqa: ARG001
    file: Json = None,
) -> None:
    """Print the tables."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    here = surroundings(workers=1, threads=cores())
    tell("Fitting the recorded curves.")
    replay = Replay()
    pruning = [_pruned(name, replay, seeds, budget) for name in PRUNERS]
    confirmed = _confirmed(replay, seeds, budget)
    section = load_spec("standard").confirm
    unconfirmed = confirmed[0]["optimism"]
    standard = next(
        (row["optimism"] for row in confirmed if (row["top"], row["seeds"]) == (section.top, section.seeds)),
        unconfirmed,
    )
    settings = {"seeds": seeds, "budget": budget, "epochs": replay.epochs}
    figures = {
        "benchmark": "judgement",
        **here,
        "settings": settings,
        "rows": pruning,
        "rungs": _rungs(replay),
        "confirm": confirmed,
    }
    figures["ratio"] = abs(unconfirmed) / max(abs(standard), 1e-4)
    for table in (_pruning_table(pruning, settings), _rungs_table(figures["rungs"])):
        print_table(table, Console())
    publish(_confirm_table(confirmed, settings), figures, file)


def _pruned(name: str, replay: Replay, seeds: int, budget: int) -> dict[str, Any]:
    tell(f"Pruning by {name}: {seeds} searches.")
    trained, complete, killed, killed_at = [], [], [], np.zeros(replay.epochs)
    trials = budget // replay.epochs
    for seed in range(seeds):
        runs = search(replay, PRUNERS[name], seed, budget, most=trials).runs
        best = sorted(runs, key=lambda run: -replay.truth(run.knobs)[-1])[: max(1, round(BEST * trials))]
        pruned = [run for run in best if run.state == "pruned"]
        trained.append(sum(len(run.f1) for run in runs) / budget)
        complete.append(mean(run.state == "complete" for run in runs))
        killed.append(len(pruned) / len(best))
        for run in pruned:
            killed_at[len(run.f1) - 1] += 1 / len(best) / seeds
    return {
        "pruner": name,
        "epochs": mean(trained),
        "kept": mean(complete),
        "killed": mean(killed),
        "at": [float(share) for share in killed_at],
    }


def _rungs(replay: Replay) -> list[dict[str, float]]:
    curves = replay.recorded
    better = curves[curves[:, -1] >= np.median(curves[:, -1])]
    return [
        {
            "epoch": epoch,
            "all": float(spearmanr(curves[:, epoch - 1], curves[:, -1]).statistic),
            "better": float(spearmanr(better[:, epoch - 1], better[:, -1]).statistic),
        }
        for epoch in range(1, replay.epochs)
    ]


def _confirmed(replay: Replay, seeds: int, budget: int) -> list[dict[str, Any]]:
    tell(f"Confirming: {seeds} searches.")
    best = replay.best()
    outcomes: dict[tuple[int, int], list[tuple[float, float]]] = {pair: [] for pair in ((1, 0), *product(TOPS, SEEDS))}
    for seed in range(seeds):
        runs = search(replay, SEARCHES["tpe percentile"], seed, budget).runs
        ranked = sorted((run for run in runs if run.state == "complete"), key=lambda run: -run.f1[-1])
        rng = np.random.default_rng([seed, 1])
        for (top, fresh), outcome in outcomes.items():
            candidates = [
                (run, mean(replay.training(run.knobs, rng)[-1] for _ in range(fresh))) for run in ranked[:top] if fresh
            ]
            winner, value = max(candidates, key=lambda pair: pair[1], default=(ranked[0], ranked[0].f1[-1]))
            outcome.append((value, float(replay.truth(winner.knobs)[-1])))
    return [
        {
            "top": top,
            "seeds": fresh,
            "cost": top * fresh * replay.epochs / budget,
            "optimism": float(mean(value - truth for value, truth in outcome)),
            "regret": float(mean(best - truth for _, truth in outcome)),
        }
        for (top, fresh), outcome in outcomes.items()
    ]


def _pruning_table(rows: list[dict[str, Any]], settings: dict[str, Any]) -> Table:
    cells = [
        (
            row["pruner"],
            *(f"{row[key]:.0%}" for key in ("epochs", "kept", "killed")),
            *(f"{share:.0%}" for share in (*row["at"][:3], sum(row["at"][3:]))),
        )
        for row in rows
    ]
    caption = (
        f"{settings['budget'] // settings['epochs']} random trials of {settings['epochs']} epochs, means of "
        f"{settings['seeds']} seeds."
    )
    return Table(
        "What pruning kills", ("pruner", "epochs", "kept", "killed", "at 1", "at 2", "at 3", "later"), cells, caption
    )


def _rungs_table(rows: list[dict[str, float]]) -> Table:
    cells = [(f"{row['epoch']:.0f}", f"{row['all']:.3f}", f"{row['better']:.3f}") for row in rows]
    caption = "Spearman's rank correlation with the last epoch, over the recorded trainings."
    return Table("What an epoch predicts", ("epoch", "all", "better half"), cells, caption, text_columns=frozenset())


def _confirm_table(rows: list[dict[str, Any]], settings: dict[str, Any]) -> Table:
    cells = [
        (
            f"{row['top']}",
            f"{row['seeds']}",
            f"{row['cost']:.0%}",
            f"{row['optimism'] * 100:+.2f}",
            f"{row['regret'] * 100:.2f}",
        )
        for row in rows
    ]
    caption = f"After searches of {settings['budget']} epochs, means of {settings['seeds']}; hundredths of F1."
    return Table(
        "What confirming is worth",
        ("top", "seeds", "cost", "optimism", "regret"),
        cells,
        caption,
        text_columns=frozenset(),
    )


if __name__ == "__main__":
    perform(judgement, __doc__ or "")
