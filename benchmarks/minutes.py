"""What a whole job finds in so many minutes, beside a usual loop and a fixed configuration with the same minutes.

    python benchmarks/minutes.py [--minutes M,M] [--only NAME,NAME] [--data PATH] [--figure FILE.png] [--json FILE]

The time of all jobs is that of `--minutes`, three times. Each job runs alone, in a process and a folder of its own. The
test split is opened once by each, at its end, and nothing is chosen by it.

auto     fmnist-search run auto --minutes M; any other name is a study likewise
sprint   the configuration of `sprint`, for as many epochs as the minutes allow
usual    the job that an Optuna user writes (benchmarks/usual_job.py): TPE and median pruner for half of the minutes,
         the best configuration with three seeds in the rest
job      wall clock from the start of the process to its end

`ratio` in the JSON is the share of test errors (1 - macro F1) of `usual` by that of `auto`, at the longest time.
"""

import sys
from pathlib import Path

if __name__ == "__main__":
    # A script's folder comes first on the path, where `profile` would shadow the standard library's.
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import json
import os
import subprocess
import tempfile
import time
from collections.abc import Sequence
from statistics import fmean, stdev
from typing import Annotated, Any

import typer
from matplotlib.figure import Figure

from benchmarks.options import Data, Json
from benchmarks.table import perform, publish, surroundings, tell
from fmnist.data.sources import find_source
from fmnist.errors import FmnistError
from fmnist.machine import cores
from search.terminal.table import Table
from search.terminal.wording import duration, f1

ROOT = Path(__file__).resolve().parents[1]
JOBS = ("auto", "sprint", "usual")
SEEDS, LOADERS = 3, 0


def minutes(
    lengths: Annotated[str, typer.Option("--minutes", metavar="M,M", help="Of each job.")] = "2,5,10,30,60",
    only: Annotated[str, typer.Option(metavar="NAME,NAME", help="`usual`, and studies.")] = ",".join(JOBS),
    workers: Annotated[int, typer.Option(metavar="W", min=1, help="Of our jobs.")] = cores(),
    images: Annotated[int | None, typer.Option(metavar="N", min=100, help="Of each file of the usual job.")] = None,
    data: Data = None,
    figure: Annotated[Path | None, typer.Option(metavar="FILE.png")] = None,
    file: Json = None,
) -> None:
    """Print the table."""
    names, times = [name.strip() for name in only.split(",")], _minutes(lengths)
    here = surroundings(workers=workers, threads=max(1, cores() // workers))
    source = find_source(data, announce=tell)
    rows = []
    for length in times:
        for name in names:
            tell(f"{name}, {length:g} minutes.")
            with tempfile.TemporaryDirectory() as folder:
                start = time.monotonic()
                found = (
                    _usual(length, images, data, folder)
                    if name == "usual"
                    else _ours(name, length, workers, data, folder)
                )
                rows.append({"job": name, "minutes": length, "seconds": time.monotonic() - start, **found})
    settings = {"data": source.name, "minutes": times, "seeds": SEEDS}
    figures = {"benchmark": "minutes", **here, "settings": settings, "rows": rows, "ratio": _ratio(rows)}
    if figure is not None:
        _draw(rows, figure)
    publish(_table(rows), figures, file)


def _minutes(text: str) -> list[float]:
    try:
        found = [float(part) for part in text.split(",")]
    except ValueError:
        found = []
    if not found or min(found) <= 0:
        raise FmnistError(f"--minutes must be numbers above 0, separated by commas, got {text!r}. For example: 2,5,10")
    return found


def _ours(study: str, length: float, workers: int, data: str | None, folder: str) -> dict[str, Any]:
    given = [] if data is None else ["--data", data if data == "synthetic" else str(Path(data).resolve())]
    given_study = str(Path(study).resolve()) if study.endswith(".toml") else study
    command = [sys.executable, "-m", "search", "run", given_study, "--minutes", str(length), "--workers", str(workers)]
    _perform([*command, *given, "--quiet"], folder)
    (result,) = Path(folder, "studies").glob("*/report.json")
    report = json.loads(result.read_text(encoding="utf-8"))
    final = report["final"]
    return {
        "macro_f1": [run["macro_f1"] for run in final["runs"]],
        "trials": sum(report["states"][state] for state in ("complete", "pruned", "failed")),
        "epochs": final["config"]["epochs"],
        "parameters": final["parameters"],
        "decisions": [decision["text"] for decision in report["decisions"]],
    }


def _usual(length: float, images: int | None, data: str | None, folder: str) -> dict[str, Any]:
    root = data or os.environ.get("FMNIST_DATA")
    if root is None or not Path(root, "FashionMNIST", "raw").exists():
        raise FmnistError("The usual job needs Fashion-MNIST's files: name the folder of FashionMNIST/raw with --data.")
    file = Path(folder, "result.json")
    work = {
        "root": str(Path(root).resolve()),
        "seconds": length * 60,
        "seeds": SEEDS,
        "loaders": LOADERS,
        "images": images,
        "result": str(file),
    }
    _perform([sys.executable, "-m", "benchmarks.usual_job", json.dumps(work)], folder)
    return dict(json.loads(file.read_text(encoding="utf-8")))


def _perform(command: Sequence[str], folder: str) -> None:
    paths = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    env = os.environ | {"PYTHONPATH": paths}
    if root := os.environ.get("FMNIST_DATA"):  # it may be relative to the folder of the benchmark
        env["FMNIST_DATA"] = str(Path(root).resolve())
    subprocess.run(command, cwd=folder, env=env, check=True, stdout=subprocess.DEVNULL)


def _ratio(rows: Sequence[dict[str, Any]]) -> float:
    last = max(row["minutes"] for row in rows)
    errors = {row["job"]: 1 - fmean(row["macro_f1"]) for row in rows if row["minutes"] == last}
    return errors["usual"] / errors["auto"] if {"usual", "auto"} <= errors.keys() else 1.0


def _table(rows: Sequence[dict[str, Any]]) -> Table:
    cells = [
        (
            row["job"],
            f"{row['minutes']:g}",
            duration(row["seconds"]),
            f"{f1(fmean(row['macro_f1']))} ± {f1(stdev(row['macro_f1']))}",
            f"{row['trials']}",
            f"{row['epochs']}",
            f"{row['parameters']:,}",
        )
        for row in rows
    ]
    caption = f"Test macro F1, mean and standard deviation of {SEEDS} seeds; the test split is opened once by each job."
    columns = ("", "minutes", "job", "macro F1", "trials", "final epochs", "parameters")
    return Table("Whole jobs in so many minutes", columns, cells, caption)


def _draw(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Draw the test macro F1 of each job over its wall clock, as a PNG."""
    figure = Figure((8, 4.5), layout="constrained")
    axes = figure.subplots()
    for name in dict.fromkeys(row["job"] for row in rows):
        of_job = sorted((row for row in rows if row["job"] == name), key=lambda row: row["seconds"])
        means = [fmean(row["macro_f1"]) for row in of_job]
        spread = [stdev(row["macro_f1"]) for row in of_job]
        times = [row["seconds"] / 60 for row in of_job]
        axes.errorbar(times, means, spread, marker="o", capsize=3, label=name, linewidth=2.2 if name == "auto" else 1.2)
    ticks = sorted({row["minutes"] for row in rows})
    axes.set(xscale="log", xlabel="minutes of the whole job", ylabel="test macro F1, mean of three seeds")
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    axes.grid(color="0.9", linewidth=0.6)
    axes.legend(loc="lower right", frameon=False)
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    perform(minutes, __doc__ or "")
