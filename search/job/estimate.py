"""Estimate a study's time on this device from a few measured training steps and its configurations' operations."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

import optuna
import torch

from fmnist.config import TrialConfig
from fmnist.cuda import is_cuda, is_fault
from fmnist.data.images import SIDE
from fmnist.device import torch_threads
from fmnist.network import describe
from fmnist.train import measure_speed
from search.errors import SearchError
from search.executors.capacity import least_memory, memory_of_each, slowdown
from search.job.place import Place
from search.study.records import DataRecord
from search.study.sections import FinalSection
from search.study.spec import StudySpec

SAMPLES = 16  # random configurations that represent the space
PASSES = 3  # forward passes that a training step takes as long as: the backward pass computes two products per layer


@dataclass(frozen=True)
class Estimate:
    """Seconds of wall clock per stage; of the search, without pruning."""

    search: float
    confirm: float
    final: float

    @property
    def total(self) -> float:
        """The seconds of the three stages."""
        return self.search + self.confirm + self.final


def estimate(spec: StudySpec, place: Place, *, data: DataRecord, images: int) -> Estimate:
    """Return the estimated time of `spec`, assuming that the nodes of a cluster are like this machine.

    Args:
        images: The number of all training images.

    Raises: SearchError if none of its networks fits the memory, or the device fails.
    """
    device, workers, is_cluster = place.device, place.workers, place.cluster is not None
    classes = len(data.class_names)
    configs = _within_memory(_sample(spec), spec.final, classes, data.train, device, 1 if is_cluster else workers)
    costs = [describe(config, classes).flops * _full_epochs(config) for config in configs]
    typical = sorted(zip(costs, configs, strict=True), key=lambda pair: pair[0])[len(configs) // 2][1]
    speed = _speed(typical, classes, device, place.threads)
    per_operation = 1 / (speed * describe(typical, classes).flops)
    per_image = fmean(costs) * per_operation
    trial = per_image * data.train
    # A second round, in which the networks of the first one teach.
    taught = fmean(_taught(config, spec.final, classes) for config in configs) * per_operation * images

    def factor(trainings: int) -> float:
        """Return the slowdown of so many parallel trainings; the nodes of a cluster share no device."""
        return 1.0 if is_cluster else slowdown(device, min(workers, trainings))

    confirmed = min(spec.confirm.top, spec.budget) * spec.confirm.seeds
    final_rounds = factor(spec.final.seeds) * _rounds(spec.final.seeds, workers)
    final_epochs = (spec.final.epochs or spec.epochs) / spec.epochs
    return Estimate(
        search=min(
            factor(spec.budget) * _rounds(spec.budget, workers) * trial, (spec.search.minutes or float("inf")) * 60
        ),
        confirm=factor(confirmed) * _rounds(confirmed, workers) * trial,
        final=final_rounds * (per_image * images * final_epochs + taught),
    )


def trainings_seconds(configs: Sequence[TrialConfig], place: Place, data: DataRecord) -> float:
    """Return the wall clock of these trainings on the search's training images.

    Raises: SearchError if the device fails.
    """
    classes = len(data.class_names)
    speed = _speed(configs[0], classes, place.device, place.threads)
    factor = 1.0 if place.cluster else slowdown(place.device, min(place.workers, len(configs)))
    per_operation = factor * data.train / (speed * describe(configs[0], classes).flops)
    seconds = [per_operation * describe(config, classes).flops * _full_epochs(config) for config in configs]
    return _rounds(len(seconds), place.workers) * fmean(seconds)


def _speed(config: TrialConfig, classes: int, device: torch.device, threads: int) -> float:
    try:
        # As many as a worker has; this process needs all cores again to score the test split.
        with torch_threads(threads):
            return measure_speed(config, classes, device=device)
    except RuntimeError as error:
        if not isinstance(error, torch.OutOfMemoryError) and not is_fault(error):
            raise
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        step = "See what else uses it, or name another device with --device."
        raise SearchError(
            f"The device {device} must be able to train the study's median network, but failed: {reason}. {step}"
        ) from None


def _sample(spec: StudySpec) -> list[TrialConfig]:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    return [spec.space.suggest(study.ask()) for _ in range(SAMPLES if spec.space.knobs else 1)]


def _taught(config: TrialConfig, final: FinalSection, classes: int) -> float:
    """Return the operations of a student's training for each image, counted as those of a trial; 0 without one."""
    if not final.distil:
        return 0.0
    teacher = final.trained(config)
    student = final.deployed(teacher)
    passes = final.seeds * (2 if teacher.mirror else 1) / PASSES
    return (describe(student, classes).flops + passes * describe(teacher, classes).flops) * _full_epochs(student)


def _least(config: TrialConfig, final: FinalSection, classes: int, images: int, device: torch.device) -> int:
    """Return the minimum bytes that each training of the study takes, if its winner is `config`."""
    least = least_memory(config, classes, images, device)
    if not final.distil:
        return least
    teacher = final.trained(config)
    return max(least, least_memory(final.deployed(teacher), classes, images, device, [teacher] * final.seeds))


def _within_memory(
    configs: list[TrialConfig], final: FinalSection, classes: int, images: int, device: torch.device, workers: int
) -> list[TrialConfig]:
    free = memory_of_each(device, workers)
    least = {config: _least(config, final, classes, images, device) for config in configs}
    if (smallest := min(least.values())) > free:
        raise SearchError(
            f"A training of this study takes at least {smallest / 2**30:,.1f} GiB of memory, {free / 2**30:,.1f} GiB "
            f"are free on {device}"
            f"{f' for each of {workers} workers' if is_cuda(device) else ''}. "
            "Narrow depth, blocks, filters, growth or "
            f"batch_size{', or use fewer --workers' if is_cuda(device) and workers > 1 else ''}."
        )
    return [config for config in configs if least[config] <= free]


def _full_epochs(config: TrialConfig) -> float:
    """Return the epochs, counting those on smaller images by their share of pixels, to which operations scale."""
    return config.epochs - config.small_count * (1 - (config.small_side / SIDE) ** 2)


def _rounds(tasks: int, workers: int) -> float:
    # Many tasks even out; with few tasks, the last round counts fully.
    return tasks / workers if tasks > 3 * workers else math.ceil(tasks / workers)
