"""The figures of benchmarks/search_quality.py."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from benchmarks.replayed_search import Run

OURS = "freeze-thaw"  # the search that stands out
LEFT, HEIGHT = 30, 0.03  # of the figure: its first epoch, and its range of F1 below the best
TICKS = (30, 50, 100, 200, 400, 800, 1600)


def draw(rows: Sequence[Mapping[str, Any]], best: float, path: Path) -> None:
    """Draw the median F1 of the result of each search over its epochs, as a PNG."""
    figure = Figure((8, 4.5), layout="constrained")
    axes = figure.subplots()
    for row in rows:
        regret = np.array(row["regret"])
        epochs = np.arange(1, len(regret) + 1)
        is_ours = row["search"] == OURS
        axes.plot(
            epochs,
            best - regret,
            label=row["search"],
            linewidth=2.5 if is_ours else 1.2,
            linestyle="-" if is_ours else "--",
        )
        if is_ours:
            axes.fill_between(epochs, best - np.array(row["high"]), best - np.array(row["low"]), alpha=0.15)
    axes.axhline(best, color="0.6", linewidth=0.8)
    axes.set(xscale="log", xlim=(LEFT, len(regret)), ylim=(best - HEIGHT, best + 0.001))
    axes.set_xticks(ticks := [tick for tick in TICKS if tick < len(regret)], [f"{tick:,}" for tick in ticks])
    axes.minorticks_off()
    axes.set(xlabel="epochs trained", ylabel="true macro F1 of the result, median")
    axes.grid(color="0.9", linewidth=0.6)
    axes.legend(loc="lower right", frameon=False)
    figure.savefig(path, dpi=120)


def draw_trials(runs: Sequence[Run], epochs: int, path: Path) -> None:
    """Draw each epoch of a search, in the row of its trial and the column of its time, as a PNG."""
    figure = Figure((8, 4.5), layout="constrained")
    axes = figure.subplots()
    when, rows, values = zip(
        *((time, run.number, value) for run in runs for time, value in zip(run.when, run.f1, strict=True)), strict=True
    )
    lowest = np.percentile(values, 20)
    cells = axes.scatter(when, rows, c=values, vmin=lowest, vmax=max(values), marker="s", s=22, cmap="viridis")
    ends = [run for run in runs if len(run.f1) == epochs]
    times, numbers = [run.when[-1] for run in ends], [run.number for run in ends]
    axes.scatter(times, numbers, marker="o", s=70, facecolors="none", edgecolors="tab:red", label="complete")
    figure.colorbar(cells, label="validation macro F1")
    axes.set(xlabel="epochs trained by the search", ylabel="trial")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.invert_yaxis()
    axes.legend(loc="upper right", frameon=False)
    figure.savefig(path, dpi=120)
