"""What each lever is worth: paired trainings of equal cost, scored on validation.

    nice python benchmarks/levers.py [--only NAME,...] [--seeds N] [--file FILE] [--data PATH] [--json FILE]

A lever is a change of one base configuration (levers.toml). Its step is timed against that of the base, on one thread,
in turns; then it trains as many epochs as fit into the time of the base's. So a lever that costs twice as much has half
of the epochs, and other work on the machine changes nothing. Each seed trains every lever, on the 50,000 images of the
search's training split, one training per core. Trainings in the file are skipped, so that it can be stopped and
resumed at any time.

worth       mean difference of macro F1 from the base over seeds, in hundredths, with its 95 % interval (Student's t)
mirrored    the same, where both are scored as the mean over an image and its mirror image
translated  the same, where the scores of two diagonal moves are averaged as well
"""

import sys
from pathlib import Path

if __name__ == "__main__":
    # A script's folder comes first on the path, where `profile` would shadow the standard library's.
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import csv
import hashlib
import json
import math
import time
import tomllib
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, astuple, dataclass, fields, replace
from multiprocessing import get_context
from statistics import fmean, stdev
from typing import Annotated, Any
from unittest.mock import patch

import numpy as np
import torch
import typer
from scipy.special import stdtrit

from benchmarks.lever_trainings import TRAININGS
from benchmarks.options import Data, Json
from benchmarks.table import CPU, perform, publish, surroundings, tell
from fmnist.config import TrialConfig
from fmnist.data.images import SIDE, Images
from fmnist.data.sources import Source, find_source
from fmnist.data.splits import SPLIT_SEED, search_splits
from fmnist.errors import FmnistError
from fmnist.machine import cores
from fmnist.metrics import macro_f1
from fmnist.network import build, describe
from fmnist.precision import is_mixed
from fmnist.scoring import class_scores
from fmnist.suggestions import did_you_mean
from fmnist.train import DivergedError, fit
from search.terminal.table import Table

LEVERS, ROWS = (Path(__file__).with_name(f"levers.{ending}") for ending in ("toml", "csv"))
BASE = "base"
CLASSES = 10
TURNS, STEPS = 12, 3  # of the timing: blocks of so many steps, the base and the lever in turns
VIEWS: dict[str, dict[str, Any]] = {
    "plain": {},
    "mirrored": {"mirror": True},
    "translated": {"mirror": True, "translate": 1},
}


@dataclass(frozen=True)
class Lever:
    """A configuration without its epochs, and the way it is trained."""

    name: str
    knobs: Mapping[str, Any]
    training: str
    data: str = ""  # what it is trained on, if not on all images of Fashion-MNIST in bfloat16

    def config(self, epochs: int) -> TrialConfig:
        """Return the configuration with so many epochs."""
        return TrialConfig.parse({**self.knobs, "epochs": epochs}, context=f"levers.toml, {self.name}")

    @property
    def recipe(self) -> str:
        """Identify everything that determines the trainings but their epochs and seed."""
        content = json.dumps([dict(sorted(self.knobs.items())), self.training, *([self.data] if self.data else [])])
        return hashlib.sha256(content.encode()).hexdigest()[:12]


@dataclass(frozen=True)
class Row:
    """One training; the scores are NaN if it diverged."""

    name: str
    recipe: str
    cost: float  # of a step, relative to the base
    epochs: int
    seed: int
    plain: float
    mirrored: float
    translated: float


def levers(
    only: Annotated[str | None, typer.Option(metavar="NAME,...", help="Of levers.toml; all by default.")] = None,
    seeds: Annotated[int, typer.Option(metavar="N", min=1)] = 5,
    epochs: Annotated[int | None, typer.Option(metavar="N", min=1, help="Of the base; by default the file's.")] = None,
    workers: Annotated[int, typer.Option(metavar="N", min=1)] = cores(),
    rows: Annotated[Path, typer.Option("--file", metavar="FILE", help="CSV of the trainings.")] = ROWS,
    table: Annotated[Path, typer.Option("--levers", metavar="FILE")] = LEVERS,
    images: Annotated[int | None, typer.Option(metavar="N", min=100, help="Only so many training images.")] = None,
    data: Data = None,
    file: Json = None,
) -> None:
    """Train what is missing in the file and print the table."""
    here = surroundings(workers=workers, threads=1)
    usual_epochs, known = read_levers(table)
    epochs = epochs or usual_epochs
    source = find_source(data, announce=tell)
    about = _about(source, images)
    chosen = [replace(lever, data=about) for lever in _chosen(known, only)]
    done = read_rows(rows)
    costs = {row.recipe: row.cost for row in done}
    for lever in chosen:
        if lever.recipe not in costs:
            costs[lever.recipe] = 1.0 if lever.name == BASE else relative_cost(known[0], lever)
            tell(f"{lever.name}: a step takes {costs[lever.recipe]:.2f} times as long as the base's")
    present = {(row.recipe, row.epochs, row.seed) for row in done}
    tasks = []
    for seed in range(seeds):
        for lever in chosen:
            count = epochs_of(costs[lever.recipe], epochs)
            if (lever.recipe, count, seed) not in present:
                tasks.append((lever, costs[lever.recipe], count, seed, images, data))
    _train(tasks, workers, rows)
    shown = _table(chosen, read_rows(rows), epochs)
    publish(shown, {"benchmark": "levers", **here, "rows": [asdict(row) for row in read_rows(rows)]}, file)


def read_levers(path: Path) -> tuple[int, list[Lever]]:
    """Return the epochs of the base, and all levers, the base first.

    Raises: FmnistError if the file is no such table.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
        base, variants, epochs = content["base"], content["variants"], int(content["epochs"])
    except (OSError, tomllib.TOMLDecodeError, LookupError, ValueError) as error:
        raise FmnistError(f"{path} must be a TOML file with epochs, [base] and [variants]: {error}.") from None
    found = [Lever(BASE, base, "usual")]
    for name, changes in variants.items():
        knobs = {**base, **changes}
        training = knobs.pop("training", "usual")
        if training not in TRAININGS:
            raise FmnistError(f"{path}, {name}: training must be {', '.join(TRAININGS)}, got {training!r}.")
        found.append(Lever(name, knobs, training))
    for lever in found:
        lever.config(epochs)
    return epochs, found


def read_rows(path: Path) -> list[Row]:
    """Return the trainings in the file; none if there is no file."""
    if not path.exists():
        return []
    kinds = {field.name: field.type for field in fields(Row)}
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        if reader.fieldnames != list(kinds):
            raise FmnistError(f"{path} must have the columns {', '.join(kinds)}. Name another file with --file.")
        return [Row(**{name: kinds[name](text) for name, text in entry.items()}) for entry in reader]  # type: ignore[operator]


def _about(source: Source, images: int | None) -> str:
    parts = ["" if source.name == "Fashion-MNIST" else source.name, f"{images} images" if images else ""]
    return ", ".join(filter(None, (*parts, "" if is_mixed(CPU) else "float32")))


def epochs_of(cost: float, epochs: int) -> int:
    """Return how many epochs of that relative cost fit into the time of so many of the base."""
    return max(1, round(epochs / cost))


def relative_cost(base: Lever, lever: Lever) -> float:
    """Return the CPU time of the lever's epoch as a multiple of the base's, on one thread, the shortest of many."""
    torch.set_num_threads(1)
    pixels = np.random.default_rng(0).integers(0, 256, (512, SIDE, SIDE), dtype=np.uint8)
    images = Images(pixels, np.arange(512) % CLASSES, tuple(map(str, range(CLASSES))))
    configs = [base.config(8), lever.config(8)]
    runs = [TRAININGS[one.training](config, images, 0, CPU) for one, config in zip((base, lever), configs, strict=True)]
    best = [float("inf")] * 2
    for _ in range(TURNS):
        for index, run in enumerate(runs):
            run.model.train()
            for _ in range(STEPS):
                start = time.thread_time()
                run.block(torch.arange(run.batches.size).view(1, -1), SIDE).item()
                best[index] = min(best[index], time.thread_time() - start)
    per_image = [seconds / run.batches.size for seconds, run in zip(best, runs, strict=True)]
    return round(per_image[1] / per_image[0] * _share(lever, configs[1]), 3)


def _share(lever: Lever, config: TrialConfig) -> float:
    """Return the work of an epoch relative to one on all images at full size."""
    smaller = config.small_count / config.epochs * (1 - (config.small_side / SIDE) ** 2)
    skipped = 0.75 * TRAININGS["skipping"].SHARE if lever.training == "skipping" else 0.0  # type: ignore[attr-defined]
    return 1 - smaller - skipped


def _chosen(known: Sequence[Lever], only: str | None) -> list[Lever]:
    if only is None:
        return list(known)
    by_name = {lever.name: lever for lever in known}
    names = [name.strip() for name in only.split(",")]
    for name in names:
        if name not in by_name:
            raise FmnistError(f"--only must name levers of the file, got {name!r}. {did_you_mean(name, by_name)}")
    return [by_name[name] for name in dict.fromkeys((BASE, *names))]


def _train(tasks: Sequence[tuple[Any, ...]], workers: int, file: Path) -> None:
    if not tasks:
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        futures = [pool.submit(_row, *task) for task in tasks]
        for index, future in enumerate(as_completed(futures), 1):
            row = future.result()
            _append(file, row)
            tell(f"{index} of {len(tasks)}: {row.name}, seed {row.seed}, {row.epochs} epochs: {row.plain:.4f}")


def _append(file: Path, row: Row) -> None:
    is_new = not file.exists()
    with file.open("a", newline="", encoding="utf-8") as opened:
        writer = csv.writer(opened)
        if is_new:
            writer.writerow([field.name for field in fields(Row)])
        writer.writerow(astuple(row))


def _row(lever: Lever, cost: float, epochs: int, seed: int, images: int | None, data: str | None) -> Row:
    torch.set_num_threads(1)
    source = find_source(data, announce=lambda _: None)
    train, valid = search_splits(source, seed=SPLIT_SEED)
    train = train if images is None else train.take(np.arange(images))
    config = lever.config(epochs)
    try:
        with patch("fmnist.train._Run", TRAININGS[lever.training]):
            (last,) = deque(fit(config, train, None, seed=seed, device=CPU), maxlen=1)
    except DivergedError:
        return Row(lever.name, lever.recipe, cost, epochs, seed, *(float("nan"),) * 3)
    scores = []
    for changes in VIEWS.values():
        model = build(config.model_copy(update=changes), len(train.class_names))
        model.load_state_dict(last.model.state_dict())
        predicted = class_scores(model, torch.from_numpy(valid.pixels)).argmax(dim=1).numpy()
        scores.append(macro_f1(valid.labels, predicted, len(valid.class_names)))
    return Row(lever.name, lever.recipe, cost, epochs, seed, *scores)


def _table(chosen: Sequence[Lever], rows: Sequence[Row], epochs: int) -> Table:
    rows = [row for row in rows if row.epochs == epochs_of(row.cost, epochs)]  # not those of another length
    rows_of = {lever.name: [row for row in rows if row.recipe == lever.recipe] for lever in chosen}
    lines = []
    for lever in chosen:
        mine = rows_of[lever.name]
        trained = [row for row in mine if not math.isnan(row.plain)]
        diverged = f", {len(mine) - len(trained)} diverged" if len(trained) < len(mine) else ""
        worths = ("-", "-", "-") if lever.name == BASE else (_worth(trained, rows_of[BASE], view) for view in VIEWS)
        lines.append(
            (
                lever.name,
                f"{mine[0].cost:.2f}",
                str(mine[0].epochs),
                f"{len(mine)}{diverged}",
                f"{describe(lever.config(epochs), CLASSES).parameters:,}",
                f"{fmean(row.plain for row in trained):.4f}" if trained else "-",
                *worths,
            )
        )
    columns = ("lever", "cost", "epochs", "seeds", "parameters", "macro F1", *(f"worth, {view}" for view in VIEWS))
    caption = f"Validation; worth in hundredths of F1 against the base of {epochs} epochs, at equal cost."
    return Table("Levers", columns, lines, caption)


def _worth(mine: Sequence[Row], base: Sequence[Row], view: str) -> str:
    of_base = {row.seed: getattr(row, view) for row in base}
    differences = [100 * (getattr(row, view) - of_base[row.seed]) for row in mine if row.seed in of_base]
    if len(differences) < 2:
        return f"{differences[0]:+.2f}" if differences else "-"
    reach = float(stdtrit(len(differences) - 1, 0.975)) * stdev(differences) / len(differences) ** 0.5
    return f"{fmean(differences):+.2f} ± {reach:.2f}"


if __name__ == "__main__":
    perform(levers, __doc__ or "")
