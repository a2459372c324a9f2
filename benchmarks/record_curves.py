"""Record the learning curves that search_quality.py and scale.py replay, from real trainings.

    nice python benchmarks/record_curves.py [--count N] [--again N] [--workers N] [--data NAME]
                                            [--space FILE.toml --curves FILE.csv]                an hour and a half

The time is for two cores. Each point of a Sobol sequence in the space is trained for all epochs. After
each epoch it is scored on half of the validation images, and after the last one also on the other half, which the
replayed searches never see. Then the best points are trained again with `--seeds` more seeds, to average out luck.
Trainings in the file are skipped, so the recording can be stopped and resumed at any time.
"""

import sys
from pathlib import Path

if __name__ == "__main__":
    # A script's folder comes first on the path, where `profile` would shadow the standard library's.
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

from benchmarks.curves import CURVES, SPACE, Curve, Points, append_curve, read_curves, read_space
from benchmarks.options import CurvesFile, SpaceFile
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
    again: Annotated[int, typer.Option(metavar="N", min=0, help="Number of best points that are trained again.")] = 48,
    seeds: Annotated[int, typer.Option(metavar="N", min=1, help="Number of further seeds.")] = 3,
    workers: Annotated[int, typer.Option(metavar="N", min=1)] = cores(),
    data: Annotated[str | None, typer.Option(metavar="NAME")] = None,
    images: Annotated[int, typer.Option(metavar="N", min=1, help="Training images.")] = 10_000,
    space: SpaceFile = SPACE,
    file: CurvesFile = CURVES,
) -> None:
    """Record all curves in the file."""
    make = partial(_curve, space=space, images=images, data=data)
    _train([(point, 0) for point in range(count)], workers, make, file)
    best = sorted((curve for curve in read_curves(file) if curve.seed == 0), key=lambda curve: -_last(curve))[:again]
    _train([(curve.point, seed) for seed in range(1, seeds + 1) for curve in best], workers, make, file)


def _train(pairs: list[tuple[int, int]], workers: int, make: Callable[[int, int], Curve], file: Path) -> None:
    recorded = {(curve.point, curve.seed) for curve in read_curves(file)} if file.exists() else set()
    missing = [pair for pair in pairs if pair not in recorded]
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        trainings = [pool.submit(make, *pair) for pair in missing]
        for done, training in enumerate(as_completed(trainings), start=1):
            append_curve(file, curve := training.result())
            tell(
                f"{done} of {len(missing)}: point {curve.point}, seed {curve.seed}, F1 {_last(curve):.4f}, "
                f"{curve.seconds:.0f} s"
            )


def _curve(point: int, seed: int, *, space: Path, images: int, data: str | None) -> Curve:
    torch.set_num_threads(1)
    train, valid, held_out = _images(images, data)
    spec = read_space(space)
    knobs = Points(spec.space)[point]
    config = TrialConfig.model_validate(spec.space.pinned | knobs)
    start, values, held_out_f1 = time.process_time(), [], float("nan")
    seconds = 0.0
    try:
        for epoch in fit(config, train, valid, seed=seed, device=CPU):
            assert epoch.macro_f1 is not None
            values.append(epoch.macro_f1)
            seconds = time.process_time() - start
            if epoch.number == config.epochs:
                predictions = class_scores(epoch.model, torch.from_numpy(held_out.pixels)).argmax(dim=1).numpy()
                held_out_f1 = macro_f1(held_out.labels, predictions, len(held_out.class_names))
    except DivergedError:
        pass  # the curve ends there
    parameters = describe(config, len(train.class_names)).parameters
    return Curve(point, seed, knobs, parameters, seconds, held_out_f1, tuple(values))


@cache
def _images(count: int, data: str | None) -> tuple[Images, Images, Images]:
    splits = search_splits(find_source(data, announce=tell), seed=SPLIT_SEED)
    train, _ = _parted(splits.train, count / len(splits.train))
    return train, *_parted(splits.valid, 0.5)


def _parted(images: Images, share: float) -> tuple[Images, Images]:
    rows = stratified(images.labels, images.class_names, share=share, seed=0, into="the benchmark")
    return images.take(rows.held_out), images.take(rows.remaining)


def _last(curve: Curve) -> float:
    return curve.curve[-1] if curve.curve and not math.isnan(curve.held_out) else 0.0


if __name__ == "__main__":
    perform(record, __doc__ or "")
