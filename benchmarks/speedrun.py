"""The training time of a fixed network to a target test macro F1: mean over three seeds.

    python benchmarks/speedrun.py [--study NAME] [--seeds N] [--data PATH] [--json FILE]

The configuration is pinned by a study, by default `sprint`, which was found by searches on validation. Results are in
studies/LOG.md. Each seed is trained with all cores on all training images, which are in memory. The test split is
scored once per seed, after the last epoch, and nothing is selected by it. Nothing is compiled; on CUDA the step is
captured as a graph early in the first epoch. The extra time of the first steps is included, and also shown separately.

seconds       of training, wall clock, from images in memory to the last optimizer step

`ratio` in the JSON is the target time (--minutes) by the mean time: above 1 the target is met.
"""

import sys
from pathlib import Path

if __name__ == "__main__":
    # A script's folder comes first on the path, where `profile` would shadow the standard library's.
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import time
from dataclasses import asdict, dataclass
from statistics import fmean, stdev
from typing import Annotated, Any

import torch
import typer

from benchmarks.options import Data, Json
from benchmarks.table import perform, publish, surroundings, tell
from fmnist.checkpoint import Checkpoint
from fmnist.config import TrialConfig
from fmnist.data.images import Images
from fmnist.data.sources import Source, find_source
from fmnist.data.splits import full_split
from fmnist.device import choose_device, torch_threads
from fmnist.errors import FmnistError
from fmnist.machine import cores
from fmnist.network import describe
from fmnist.precision import is_mixed
from fmnist.train import Epoch, fit
from search.job.final import evaluate
from search.study.spec import load_spec
from search.terminal.table import Table
from search.terminal.wording import counted, duration, f1
from search.terminal.wording import settings as in_words

FIRST_SEED = 3000  # beyond the seeds of the studies


@dataclass(frozen=True)
class Run:
    """The training of one seed."""

    seed: int
    seconds: float
    first_step: float  # extra seconds of the first step
    images_per_second: float
    macro_f1: float


def speedrun(
    study: Annotated[str, typer.Option(metavar="NAME", help="A study that pins every knob.")] = "sprint",
    seeds: Annotated[int, typer.Option(metavar="N", min=1)] = 3,
    device: Annotated[str, typer.Option(metavar="D", help="cpu, cuda or cuda:N.")] = "cpu",
    epochs: Annotated[int | None, typer.Option(metavar="N", min=1, help="Instead of the study's epochs.")] = None,
    target: Annotated[float, typer.Option(metavar="F1", help="Target of the mean test macro F1.")] = 0.945,
    minutes: Annotated[float, typer.Option(metavar="M", help="Target of the training time.")] = 3.5,
    data: Data = None,
    file: Json = None,
) -> None:
    """Print the table."""
    config = _pinned(study, epochs)
    here = surroundings(workers=1, threads=cores(), device=(torch_device := choose_device(device)))
    source = find_source(data, announce=tell)
    images = full_split(source)
    runs = [_run(config, images, source, seed, torch_device) for seed in range(FIRST_SEED, FIRST_SEED + seeds)]
    mean, seconds = fmean(run.macro_f1 for run in runs), fmean(run.seconds for run in runs)
    settings = {
        "study": study,
        "data": source.name,
        "images": len(images),
        "threads": cores(),
        "bfloat16": is_mixed(torch_device),
    }
    network = describe(config, len(images.class_names))
    figures = {
        "benchmark": "speedrun",
        **here,
        "settings": {**settings, "config": config.model_dump(), "target": target, "minutes": minutes},
        "parameters": network.parameters,
        "flops": network.flops,
        "rows": [asdict(run) for run in runs],
        "mean_macro_f1": mean,
        "sd_macro_f1": stdev(run.macro_f1 for run in runs) if seeds > 1 else None,
        "mean_seconds": seconds,
        "is_reached": mean >= target and seconds <= 60 * minutes,
        "ratio": 60 * minutes / seconds,
    }
    publish(_table(runs, figures), figures, file)


def _pinned(study: str, epochs: int | None) -> TrialConfig:
    spec = load_spec(study)
    space = spec.space
    if space.knobs:
        raise FmnistError(
            f"A speed run trains one configuration; the study {study!r} searches {', '.join(space.knobs)}. Pin them."
        )
    config = spec.final.trained(TrialConfig.parse(space.pinned, context=study))
    return config.model_copy(update={"epochs": epochs}) if epochs else config


def _run(config: TrialConfig, images: Images, source: Source, seed: int, device: torch.device) -> Run:
    with torch_threads(cores()):
        first_step = _first_step(config, images, seed, device)
        start = time.perf_counter()
        last = _trained(config, images, seed, device)
        seconds = time.perf_counter() - start
        scores, _ = evaluate(Checkpoint(last.model, config, images.class_names, {}), source, None, device)
    tell(f"Seed {seed}: {scores.macro_f1:.4f} in {seconds:.0f} s.")
    return Run(seed, seconds, first_step, config.epochs * len(images) / seconds, scores.macro_f1)


def _trained(config: TrialConfig, images: Images, seed: int, device: torch.device) -> Epoch:
    last: Epoch | None = None
    for last in fit(config, images, None, seed=seed, device=device):
        tell(
            f"Seed {seed}, epoch {last.number} of {config.epochs}: loss {last.train_loss:.3f}, "
            f"{last.images_per_second:,.0f} images/s"
        )
    assert last
    return last


def _first_step(config: TrialConfig, images: Images, seed: int, device: torch.device) -> float:
    """Return the extra seconds of the first step, which allocates memory and chooses kernels."""
    few = Images(images.pixels[: config.batch_size], images.labels[: config.batch_size], images.class_names)
    two_steps = config.model_copy(update={"epochs": 2})
    first, second = (epoch.seconds for epoch in fit(two_steps, few, None, seed=seed, device=device))
    return max(0.0, first - second)


def _table(runs: list[Run], figures: dict[str, Any]) -> Table:
    settings, config = figures["settings"], figures["settings"]["config"]
    rows = [
        (
            str(run.seed),
            f1(run.macro_f1),
            duration(run.seconds),
            f"{run.first_step:.2f}",
            f"{run.images_per_second:,.0f}",
        )
        for run in runs
    ]
    changed = {name: value for name, value in config.items() if value != TrialConfig.model_fields[name].default}
    spread = "" if figures["sd_macro_f1"] is None else f" ± {f1(figures['sd_macro_f1'])}"
    reached = "in time" if figures["is_reached"] else "NOT REACHED"
    caption = (
        f"{settings['study']}: {in_words(changed)}. {figures['parameters']:,} parameters, {figures['flops'] / 1e6:.1f} "
        f"MFLOPs per image; {settings['images']:,} images, {counted(settings['threads'], 'thread')}. Mean "
        f"{f1(figures['mean_macro_f1'])}{spread} in {duration(figures['mean_seconds'])}; target "
        f"{settings['target']} in {settings['minutes']:g} min: {reached}."
    )
    return Table(
        "Speed run, on the test split", ("seed", "macro F1", "training", "first step, s", "images/s"), rows, caption
    )


if __name__ == "__main__":
    perform(speedrun, __doc__ or "")
