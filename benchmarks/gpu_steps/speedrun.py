"""Seconds of training to test macro F1 0.94 and 0.95: ten seeds side by side for the score, three one after the other for the time.

The configurations are those of the studies `sprint` and `dash`, which were chosen on the validation split. Target: 0.95 in 3 s.
"""

import time
from collections.abc import Iterator
from pathlib import Path
from statistics import fmean, median, stdev
from typing import Any

import numpy as np
import torch

from benchmarks.gpu_steps import Work
from fmnist.checkpoint import load_checkpoint
from fmnist.config import TrialConfig
from fmnist.data.images import Images
from fmnist.data.sources import Source, find_source
from fmnist.data.splits import SPLIT_SEED, full_split, test_split
from fmnist.metrics import macro_f1
from fmnist.model import parameter_count
from fmnist.predict import predict
from fmnist.train import fit
from search.environment import cores
from search.executors import Event, Failed, Finished, Task
from search.executors.capacity import default_workers
from search.executors.local import LocalExecutor
from search.executors.training import Setup
from search.spec import load_spec

STUDIES = {"sprint": 0.94, "dash": 0.95}  # study -> macro F1 that is wanted
SECONDS = 3.0  # of a training, in which it is wanted
FIRST_SEED = 3000  # past those of every study
SIDE_BY_SIDE, ALONE = 10, 3  # seeds


def measure(work: Work) -> Iterator[dict[str, Any]]:
    """Of each study: seconds of a training, mean and deviation of test macro F1, and the wall clock of all seeds."""
    device, source = torch.device(work.device), find_source(work.data, announce=print)
    images = full_split(source)
    if work.tiny:
        images = images.take(np.arange(256))
    for study, target in reversed(STUDIES.items()):
        config = TrialConfig.parse(load_spec(study).space.pinned, where=study)
        if work.tiny:
            config = config.model_copy(update={"filters": 4, "epochs": 1})
        yield {f"{study}_seconds": seconds_alone(config, images, device, ALONE if not work.tiny else 1)}
        scores, wall = side_by_side(config, source, work, SIDE_BY_SIDE if not work.tiny else 2)
        yield {
            f"{study}_f1": fmean(scores),
            f"{study}_sd": stdev(scores),
            f"{study}_scores": scores,
            f"{study}_wanted": target,
            f"{study}_wall_seconds": wall,
            f"{study}_parameters": parameter_count(config, len(images.class_names)),
            f"{study}_epochs": config.epochs,
        }


def seconds_alone(config: TrialConfig, images: Images, device: torch.device, seeds: int) -> float:
    """Seconds from images in memory to the last step, the median of some seeds, after one epoch that loads the device's libraries."""
    next(fit(config, images, None, seed=0, device=device))
    taken = []
    for seed in range(FIRST_SEED, FIRST_SEED + seeds):
        start = time.perf_counter()
        for _ in fit(config, images, None, seed=seed, device=device):
            pass
        taken.append(time.perf_counter() - start)
    return median(taken)


def side_by_side(config: TrialConfig, source: Source, work: Work, seeds: int) -> tuple[list[float], float]:
    """Test macro F1 of each seed, and the seconds that all of their trainings took, with the start of the workers."""
    folders = {seed: Path(work.folder, f"{config.epochs}-{config.filters}-{seed}") for seed in range(FIRST_SEED, FIRST_SEED + seeds)}
    workers = min(seeds, default_workers(torch.device(work.device)))
    start = time.perf_counter()
    with LocalExecutor(Setup(source, SPLIT_SEED, work.device, threads=max(1, cores() // workers)), workers) as executor:
        for seed, folder in folders.items():
            executor.submit(Task(str(seed), config, seed, images="full", checkpoint=folder))
        ended: list[Event] = []
        while len(ended) < seeds:
            ended += [event for event in executor.events(timeout=1.0) if isinstance(event, Finished | Failed)]
    failed = [event.reason for event in ended if isinstance(event, Failed)]
    assert not failed, f"Trainings failed: {failed}"
    return scores_of(list(folders.values()), test_split(source), torch.device(work.device)), time.perf_counter() - start


def scores_of(folders: list[Path], test: Images, device: torch.device) -> list[float]:
    """Test macro F1 of each checkpoint."""
    classes = len(test.class_names)
    answers = [predict(load_checkpoint(folder), test.pixels, device).argmax(axis=1) for folder in folders]
    return [macro_f1(test.labels, answer, classes) for answer in answers]
