"""Records the learning curves that search_quality.py and scale.py replay: real trainings of even points of a space.

    nice python benchmarks/record_curves.py [--count N] [--again N] [--workers N] [--data NAME]      an hour and a half
    on two cores

Each point of the space in curves.toml is trained on so many images for all epochs and scored after each on half of the
validation images; after the last also on the other half, which no search that replays the curve has seen. Then the best
points are trained again with `--seeds` more seeds: what they are worth without luck. What is in the file is not trained
again, so it can be ended and started at will.
"""

import sys
from pathlib import Path

if __name__ == "__main__":
    # A script's own folder comes first on the path, where `profile` would stand before the standard library's.
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import math
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import cache, partial
from multiprocessing import get_context
from typing import Annotated

import torch
import typer

from benchmarks.curves import CURVES, Curve, Points, append_curve, read_curves, read_space
from benchmarks.table import CPU, perform, tell
from fmnist.config import TrialConfig
from fmnist.data.images import Images
from fmnist.data.sources import find_source
from fmnist.data.splits import SPLIT_SEED, search_splits
from fmnist.data.stratify import stratified
from fmnist.machine import cores
from fmnist.metrics import macro_f1
from fmnist.network import describe
from fmnist.scoring import class_scores
from fmnist.train import DivergedError, fit


def record(
    count: Annotated[int, typer.Option(metavar="N", min=1, help="Points of the space.")] = 512,
    again: Annotated[int, typer.Option(metavar="N", min=0, help="How many of the best are trained again.")] = 48,
    seeds: Annotated[int, typer.Option(metavar="N", min=1, help="How often these are trained again.")] = 3,
    workers: Annotated[int, typer.Option(metavar="N", min=1)] = cores(),
    data: Annotated[str | None, typer.Option(metavar="NAME")] = None,
    images: Annotated[int, typer.Option(metavar="N", min=1, help="Training images.")] = 10_000,
    file: Annotated[Path, typer.Option(metavar="FILE")] = CURVES,
) -> None:
    """The file has them all."""
    make = partial(_curve, images=images, data=data)
    _train([(point, 0) for point in range(count)], workers, make, file)
    best = sorted((curve for curve in read_curves(file) if curve.seed == 0), key=lambda curve: -_last(curve))[:again]
    _train([(curve.point, seed) for seed in range(1, seeds + 1) for curve in best], workers, make, file)


def _train(wanted: list[tuple[int, int]], workers: int, make: Callable[[int, int], Curve], file: Path) -> None:
    there = {(curve.point, curve.seed) for curve in read_curves(file)} if file.exists() else set()
    left = [each for each in wanted if each not in there]
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        trainings = [pool.submit(make, *each) for each in left]
        for done, training in enumerate(as_completed(trainings), start=1):
            append_curve(file, curve := training.result())
            tell(
                f"{done} of {len(left)}: point {curve.point}, seed {curve.seed}, F1 {_last(curve):.4f}, "
                f"{curve.seconds:.0f} s"
            )


def _curve(point: int, seed: int, *, images: int, data: str | None) -> Curve:
    torch.set_num_threads(1)
    train, valid, held_out = _images(images, data)
    spec = read_space()
    knobs = Points(spec.space)[point]
    config = TrialConfig.model_validate(spec.space.pinned | knobs)
    start, values, held = time.perf_counter(), [], float("nan")
    took = 0.0
    try:
        for epoch in fit(config, train, valid, seed=seed, device=CPU):
            assert epoch.macro_f1 is not None
            values.append(epoch.macro_f1)
            took = time.perf_counter() - start
            if epoch.number == config.epochs:
                guesses = class_scores(epoch.model, torch.from_numpy(held_out.pixels)).argmax(dim=1).numpy()
                held = macro_f1(held_out.labels, guesses, len(held_out.class_names))
    except DivergedError:
        pass  # its curve ends there
    return Curve(point, seed, knobs, describe(config, len(train.class_names)).parameters, took, held, tuple(values))


@cache
def _images(count: int, data: str | None) -> tuple[Images, Images, Images]:
    splits = search_splits(find_source(data, announce=tell), seed=SPLIT_SEED)
    train, _ = _parted(splits.train, count / len(splits.train))
    return train, *_parted(splits.valid, 0.5)


def _parted(images: Images, share: float) -> tuple[Images, Images]:
    halves = stratified(images.labels, images.class_names, share=share, seed=0, into="the benchmark")
    return images.take(halves.held_out), images.take(halves.kept)


def _last(curve: Curve) -> float:
    return curve.curve[-1] if curve.curve and not math.isnan(curve.held_out) else 0.0


if __name__ == "__main__":
    perform(record, __doc__ or "")
