"""Claim: forward and backward pass take three quarters of an epoch, and the search takes a few per cent of the time.

    python benchmarks/profile.py [--study NAME] [--set KNOB=VALUE] [--data PATH] [--json FILE]        about 2 minutes

The time is for two cores. One configuration, by default the middle of the study `quick` on images of full size, is
trained in this process with the threads of a worker, on 10,000 images, and scored on 2,000 others. The parts of each
step are timed without a change to the code. They must add up to the epoch that `fit` measures; the rest is "other".
Then a real search with two workers runs on the same images.

share         of the epoch, or of the time of all workers; for the coordinator, of the search's wall clock
rate          operations count two per multiply-add, convolutions and dense layers only; bytes count reads and writes
of ceiling    the rate by that of a product of two 2048 x 2048 matrices, or of a copy of 256 MiB, with as many threads
              in the same run; the matrices have the type of the training: bfloat16 where it is fast, or float32

`ratio` in the JSON is the share of the product's ceiling that forward and backward pass reach together.
"""

import sys
from pathlib import Path

if __name__ == "__main__":
    # A script's folder comes first on the path, where this file would shadow the standard library's `profile`.
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import math
from dataclasses import asdict
from typing import Annotated, Any

import optuna
import typer

from benchmarks.ceilings import measure_ceilings
from benchmarks.epoch_parts import EpochParts, time_epochs
from benchmarks.options import Data, Images, Json
from benchmarks.profile_rows import Row, ceiling_rows, cells, count_operations, epoch_rows, search_rows
from benchmarks.search_parts import time_search
from benchmarks.subset import part_of
from benchmarks.table import perform, publish, surroundings, tell
from fmnist.config import TrialConfig
from fmnist.data.sources import find_source
from fmnist.data.splits import SPLIT_SEED, search_splits
from fmnist.device import torch_threads
from fmnist.knobs import Choice, Knob, Range, Scalar
from fmnist.machine import cores
from search.study.spec import StudySpec, load_spec
from search.terminal.table import Table
from search.terminal.wording import counted
from search.terminal.wording import settings as in_words

WORKERS = 2
MOST_OTHER = 0.10  # of an epoch that the parts may leave unexplained


def profile(
    study: Annotated[
        str, typer.Option(metavar="NAME", help="A shipped study or a TOML file; the middle of its space is trained.")
    ] = "quick",
    pins: Annotated[
        list[str] | None, typer.Option("--set", metavar="KNOB=VALUE", help="Pin a knob; may be repeated.")
    ] = None,
    data: Data = None,
    images: Images = 12_000,
    epochs: Annotated[int, typer.Option(metavar="N", min=1, help="Timed epochs.")] = 2,
    trials: Annotated[
        int, typer.Option(metavar="N", min=1, help="Trials of the search; each has the study's epochs.")
    ] = 4,
    file: Json = None,
) -> None:
    """Print the table."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    # Epochs on smaller images would do fewer operations than are counted.
    config = middle(load_spec(study).overridden(settings=pins or ())).model_copy(update={"small_epochs": 0.0})
    threads = max(1, cores() // WORKERS)
    here = surroundings(workers=WORKERS, threads=threads)
    with part_of(find_source(data, announce=tell), images) as (folder, source):
        splits = search_splits(source, seed=SPLIT_SEED)
        ceilings = [measure_ceilings(count) for count in sorted({threads, cores()})]
        tell("Timing the parts of an epoch.")
        with torch_threads(threads):
            epoch = time_epochs(config, splits, epochs=epochs)
        tell("Timing a search.")
        search = time_search(source, config, trials=trials, workers=WORKERS, folder=folder)
    operations = count_operations(config, len(splits.train.class_names))
    batch = min(config.batch_size, len(splits.train))
    trained = epochs * (len(splits.train) // batch * batch)
    rows = epoch_rows(epoch, trained, operations, ceilings[0]) + search_rows(search) + ceiling_rows(ceilings)
    amounts = {"train": len(splits.train), "valid": len(splits.valid), "epochs": epochs, "trials": trials}
    settings = {"data": source.name, "study": study, **amounts, "workers": WORKERS, "threads": threads}
    figures = {
        "benchmark": "profile",
        **here,
        "settings": {**settings, "config": config.model_dump()},
        "rows": [asdict(row) for row in rows],
        "operations": asdict(operations),
        "ratio": trained * (operations.forward + operations.backward) / epoch.network / ceilings[0].product,
        **_balance(epoch),
    }
    publish(_table(rows, figures), figures, file)


def middle(spec: StudySpec) -> TrialConfig:
    """Return the configuration in the middle of the study's space."""
    space = spec.space
    return TrialConfig.parse(
        space.pinned | {name: _middle(knob) for name, knob in space.knobs.items()}, context=spec.name
    )


def _middle(knob: Knob) -> Scalar:
    match knob:
        case Choice(options):
            return options[len(options) // 2]
        case Range(int() as low, int() as high, step=step):
            return low + round((high - low) / 2 / (step or 1)) * int(step or 1)
        case Range(low, high, log):
            return math.sqrt(low * high) if log else (low + high) / 2


def _balance(epoch: EpochParts) -> dict[str, Any]:
    share = epoch.other / epoch.whole
    return {"other_share": share, "parts_add_up": abs(share) <= MOST_OTHER, "seconds_unwatched": epoch.unwatched}


def _table(rows: list[Row], figures: dict[str, Any]) -> Table:
    settings, config = figures["settings"], figures["settings"]["config"]
    changed = {name: value for name, value in config.items() if value != TrialConfig.model_fields[name].default}
    sum_up = "add up to the epoch" if figures["parts_add_up"] else "DO NOT ADD UP TO THE EPOCH"
    caption = (
        f"{settings['study']}: {in_words(changed)}. {settings['train']:,} images of {settings['data']}, scored on "
        f"{settings['valid']:,}; mean of {counted(settings['epochs'], 'epoch')};"
        f" a search of {counted(settings['trials'], 'trial')}. "
        f"The parts {sum_up} within {MOST_OTHER:.0%}; an epoch without timing took "
        f"{figures['seconds_unwatched']:.3f} s. "
        f"Forward and backward pass together reach {figures['ratio']:.0%} of the product's ceiling."
    )
    return Table(
        "Where the time goes", ("", "seconds", "share", "rate", "of ceiling"), [cells(row) for row in rows], caption
    )


if __name__ == "__main__":
    perform(profile, __doc__ or "")
