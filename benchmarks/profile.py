"""Claim: three quarters of an epoch are forward and backward pass, and the search around the training takes a few per
cent.

    python benchmarks/profile.py [--study NAME] [--set KNOB=VALUE] [--data PATH] [--json FILE]        about 2 minutes on
    two cores

One configuration is trained in this process with the threads that a worker has, on 10,000 images and scored on 2,000
others: by default the middle of the study `quick`, on images of full size. Each step is timed in its parts, without a
change to the code that is timed; the parts must add up to the epoch that `fit` itself measures, and what is left of it
stands as "other". Then a real search with two workers runs on the same images.

share         of the epoch; of the workers' time, all of them together; the coordinator's is of the search's wall clock,
beside the training rate          operations count two a multiply-add, convolutions and dense layers only; bytes count
those read and those written of ceiling    that rate by what a product of two 2048 x 2048 matrices, or a copy of 256
MiB, reaches with as many threads, in the same run;
              the matrices are of the numbers that training multiplies: bfloat16 where the processor does, else float32

`ratio` in the JSON is the share of the product's ceiling that forward and backward pass reach together.
"""

import sys
from pathlib import Path

if __name__ == "__main__":
    # A script's own folder comes first on the path, where this file would stand before the standard library's
    # `profile`.
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import math
from dataclasses import asdict
from typing import Annotated, Any

import optuna
import typer

from benchmarks.ceilings import measure_ceilings
from benchmarks.epoch_parts import EpochParts, time_epochs
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
from search.study.spec import DEFAULT_STUDY, StudySpec, load_spec
from search.terminal.table import Table
from search.terminal.wording import counted
from search.terminal.wording import settings as in_words

WORKERS = 2
MOST_OTHER = 0.10  # of an epoch; above it the parts do not explain it


def profile(
    study: Annotated[
        str, typer.Option(metavar="NAME", help="A shipped study or a TOML file, of which the middle is taken.")
    ] = DEFAULT_STUDY,
    wishes: Annotated[
        list[str] | None, typer.Option("--set", metavar="KNOB=VALUE", help="Pin a knob; may be repeated.")
    ] = None,
    data: Annotated[str | None, typer.Option(metavar="PATH", help="Fashion-MNIST's files, or 'synthetic'.")] = None,
    images: Annotated[
        int, typer.Option(metavar="N", min=60, help="Of the training images, a sixth of them for validation.")
    ] = 12_000,
    epochs: Annotated[int, typer.Option(metavar="N", min=1, help="Epochs that are timed in their parts.")] = 2,
    trials: Annotated[int, typer.Option(metavar="N", min=1, help="Of the search; each has the study's epochs.")] = 4,
    file: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write everything there too.")] = None,
) -> None:
    """The table is on the screen."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    # An epoch on smaller images does fewer operations than are counted.
    config = middle(load_spec(study).overridden(settings=wishes or ())).model_copy(update={"small_epochs": 0.0})
    threads = max(1, cores() // WORKERS)
    here = surroundings(workers=WORKERS, threads=threads)
    with part_of(find_source(data, announce=tell), images) as (folder, source):
        splits = search_splits(source, seed=SPLIT_SEED)
        ceilings = [measure_ceilings(count) for count in sorted({threads, cores()})]
        tell("Timing the parts of an epoch.")
        with torch_threads(threads):
            epoch = time_epochs(config, splits, epochs=epochs)
        tell("Timing a search.")
        searched = time_search(source, config, trials=trials, workers=WORKERS, folder=folder)
    operations = count_operations(config, len(splits.train.class_names))
    batch = min(config.batch_size, len(splits.train))
    trained = epochs * (len(splits.train) // batch * batch)
    rows = epoch_rows(epoch, trained, operations, ceilings[0]) + search_rows(searched) + ceiling_rows(ceilings)
    settings = {
        "data": source.name,
        "study": study,
        "train": len(splits.train),
        "valid": len(splits.valid),
        "epochs": epochs,
    }
    figures = {
        "benchmark": "profile",
        **here,
        "settings": {
            **settings,
            "trials": trials,
            "workers": WORKERS,
            "threads": threads,
            "config": config.model_dump(),
        },
        "rows": [asdict(row) for row in rows],
        "operations": asdict(operations),
        "ratio": trained * (operations.forward + operations.backward) / epoch.network / ceilings[0].product,
        **_check(epoch),
    }
    publish(_table(rows, figures), figures, file)


def middle(spec: StudySpec) -> TrialConfig:
    """The configuration in the middle of what the study searches."""
    space = spec.space
    return TrialConfig.parse(
        space.pinned | {name: _middle(knob) for name, knob in space.knobs.items()}, where=spec.name
    )


def _middle(knob: Knob) -> Scalar:
    match knob:
        case Choice(options):
            return options[len(options) // 2]
        case Range(int() as low, int() as high, step=step):
            return low + round((high - low) / 2 / (step or 1)) * int(step or 1)
        case Range(low, high, log):
            return math.sqrt(low * high) if log else (low + high) / 2


def _check(epoch: EpochParts) -> dict[str, Any]:
    share = epoch.other / epoch.whole
    unwatched = epoch.unwatched  # seconds of an epoch without the wrapping
    return {"other_share": share, "parts_add_up": abs(share) <= MOST_OTHER, "seconds_unwatched": unwatched}


def _table(rows: list[Row], figures: dict[str, Any]) -> Table:
    settings, config = figures["settings"], figures["settings"]["config"]
    changed = {name: value for name, value in config.items() if value != TrialConfig.model_fields[name].default}
    sum_up = "add up to the epoch" if figures["parts_add_up"] else "DO NOT ADD UP TO THE EPOCH"
    caption = (
        f"{settings['study']}: {in_words(changed)}. {settings['train']:,} images of {settings['data']}, scored on "
        f"{settings['valid']:,}; "
        f"mean of {counted(settings['epochs'], 'epoch')}; a search of {counted(settings['trials'], 'trial')}. "
        f"The parts {sum_up} within {MOST_OTHER:.0%}; an epoch without the wrapping took "
        f"{figures['seconds_unwatched']:.3f} s. "
        f"Forward and backward pass together reach {figures['ratio']:.0%} of the product's ceiling."
    )
    return Table(
        "Where the time goes", ("", "seconds", "share", "rate", "of ceiling"), [cells(row) for row in rows], caption
    )


if __name__ == "__main__":
    perform(profile, __doc__ or "")
