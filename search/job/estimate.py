"""Estimate a study's time on this device from a few measured training steps and its configurations' operations."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from statistics import fmean

import optuna
import torch

from fmnist.config import TrialConfig
from fmnist.cuda import is_cuda, is_fault
from fmnist.device import torch_threads
from fmnist.network import describe
from fmnist.precision import is_mixed
from fmnist.train import measure_speed
from search.errors import SearchError
from search.executors.capacity import least_memory, memory_of_each, slowdown
from search.job.place import Place
from search.job.rounds import Rounds, turns
from search.study.limits import constraints_of
from search.study.records import DataRecord
from search.study.sections import FinalSection
from search.study.spec import StudySpec

SAMPLES = 16  # random configurations that represent the space
MOST_SAMPLES = 800  # that are drawn to find as many within the limits
SCORING = 0.5  # time to score a view of an image, relative to training on it: forward only, but in float32
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


@dataclass(frozen=True)
class Costs:
    """What the trainings of a study cost at a place, in seconds of a worker among busy ones.

    Args:
        place: Where they run, and with how many workers.
        rounds: How long several trainings take, relative to one.
        per_operation: A forward operation of a training step on a worker's usual threads.
        trial: An epoch of a trial, scored on the validation split.
        final: An epoch on all training images.
        taught: A student's epoch with its teachers; 0 without distillation.
        view: To score one view of an image.
        views: Of an image of the result, whose scores are averaged.
        operations: Forward ones of an epoch on all training images.
        parameters: Of the network; like all of these the mean over random configurations of the space.
        flops: To score an image, likewise.
        least_flops: The fewest of these configurations.
        networks: The costs of each of these configurations; none of one network.
    """

    place: Place
    rounds: Rounds
    per_operation: float
    trial: float
    final: float
    taught: float
    view: float
    views: float
    operations: float
    parameters: float
    flops: float
    least_flops: int
    networks: tuple["Costs", ...] = ()

    def estimate(self, spec: StudySpec) -> Estimate:
        """Return the estimated time of the study; of the search, without pruning."""
        trial = self.trial * spec.epochs
        longer = (spec.confirm.epochs or spec.epochs) / spec.epochs
        return Estimate(
            search=min(self.rounds.of_trials(spec) * trial, (spec.search.minutes or float("inf")) * 60),
            confirm=self.rounds.in_turns(min(spec.confirm.top * spec.points, spec.trials) * spec.confirm.seeds)
            * trial
            * longer,
            final=self.of_final(spec, spec.final_epochs),
        )

    def of_config(
        self, config: TrialConfig, spec: StudySpec, data: DataRecord, images: int, *, seconds: float = 1.0
    ) -> "Costs":
        """Return the costs of trainings of this configuration, whose speed is measured for about so many seconds."""
        classes, device = len(data.class_names), self.place.device
        rounds = Rounds(self.place, cache(lambda threads: _speed(config, classes, device, threads, seconds)))
        per_operation = 1 / (rounds.speed(self.place.threads) * describe(config, classes).pass_flops)
        return replace(self, rounds=rounds, per_operation=per_operation).of_network(config, spec, data, images)

    def of_network(self, config: TrialConfig, spec: StudySpec, data: DataRecord, images: int) -> "Costs":
        """Return the costs of trainings of this configuration, whose operations take as long as those measured."""
        classes = len(data.class_names)
        taught = _taught(config, spec.final, classes) / spec.final_epochs
        deployed = describe(spec.final.deployed(config), classes)
        return replace(
            self,
            trial=_operations(config, data, data.train) * self.per_operation / config.epochs,
            final=_operations(config, data, images, is_scored=False) * self.per_operation / config.epochs,
            taught=taught * self.per_operation * images,
            view=SCORING * deployed.pass_flops * self.per_operation,
            views=deployed.views,
            networks=(),
        )

    def taking(self, trial: float) -> "Costs":
        """Return the costs of a network whose epoch of a trial takes so long, the others being in proportion."""
        pace = trial / self.trial
        return replace(
            self, trial=trial, final=self.final * pace, taught=self.taught * pace, view=self.view * pace, networks=()
        )

    def of_final(self, spec: StudySpec, epochs: int) -> float:
        """Return the wall clock of the final trainings, of all points of a front, with so many epochs."""
        return self.rounds.of_equal(spec.final.seeds) * (self.final + self.taught) * epochs * spec.points

    def of_scoring(self, networks: int, images: int) -> float:
        """Return the wall clock of scoring so many images with so many final networks, with all threads."""
        return self.view * self.views * networks * images / max(1, self.place.workers)


def measure_costs(spec: StudySpec, place: Place, *, data: DataRecord, images: int) -> Costs:
    """Return the costs of `spec`, assuming that the nodes of a cluster are like this machine.

    Args:
        images: The number of all training images.

    Raises: SearchError if none of its networks fits the memory, or the device fails.
    """
    device, workers = place.device, place.workers
    classes = len(data.class_names)
    configs = _within_memory(
        _sample(spec, classes), spec.final, classes, data.train, device, 1 if place.cluster else workers
    )
    costs = [_operations(config, data, data.train) for config in configs]
    typical = sorted(zip(costs, configs, strict=True), key=lambda pair: pair[0])[len(configs) // 2][1]
    rounds = Rounds(place, cache(lambda threads: _speed(typical, classes, device, threads)))
    per_operation = 1 / (rounds.speed(place.threads) * describe(typical, classes).pass_flops)
    final = fmean(_operations(config, data, images, is_scored=False) for config in configs)
    # A second round, in which the networks of the first one teach.
    taught = fmean(_taught(config, spec.final, classes) for config in configs) * images
    deployed = [describe(spec.final.deployed(config), classes) for config in configs]
    whole = Costs(
        place,
        rounds,
        per_operation,
        trial=fmean(costs) * per_operation / spec.epochs,
        final=final * per_operation / spec.epochs,
        taught=taught * per_operation / spec.final_epochs,
        view=SCORING * fmean(network.pass_flops for network in deployed) * per_operation,
        views=fmean(network.views for network in deployed),
        operations=final / spec.epochs,
        parameters=fmean(network.parameters for network in deployed),
        flops=fmean(network.flops for network in deployed),
        least_flops=min(network.flops for network in deployed),
    )
    return replace(whole, networks=tuple(whole.of_network(config, spec, data, images) for config in configs))


def estimate(spec: StudySpec, place: Place, *, data: DataRecord, images: int) -> Estimate:
    """Return the estimated time of `spec`; see `measure_costs`."""
    return measure_costs(spec, place, data=data, images=images).estimate(spec)


def trainings_seconds(configs: Sequence[TrialConfig], place: Place, data: DataRecord) -> float:
    """Return the wall clock of these trainings on the search's training images.

    Raises: SearchError if the device fails.
    """
    classes = len(data.class_names)
    speed = _speed(configs[0], classes, place.device, place.threads)
    factor = 1.0 if place.cluster else slowdown(place.device, min(place.workers, len(configs)))
    per_operation = factor / (speed * describe(configs[0], classes).pass_flops)
    seconds = [per_operation * _operations(config, data, data.train) for config in configs]
    return turns(len(seconds), place.workers) * fmean(seconds)


def _speed(config: TrialConfig, classes: int, device: torch.device, threads: int, seconds: float = 1.0) -> float:
    try:
        # As many as a worker has; this process needs all cores again to score the test split.
        with torch_threads(threads):
            return measure_speed(config, classes, device=device, seconds=seconds)
    except RuntimeError as error:
        if not isinstance(error, torch.OutOfMemoryError) and not is_fault(error):
            raise
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        step = "See what else uses it, or name another device with --device."
        raise SearchError(
            f"The device {device} must be able to train the study's median network, but failed: {reason}. {step}"
        ) from None


def _sample(spec: StudySpec, classes: int) -> list[TrialConfig]:
    """Return random configurations, within the limits on parameters and size if there are any such."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    space = spec.space
    count, drawn, within = SAMPLES if space.knobs else 1, list[TrialConfig](), list[TrialConfig]()
    while len(within) < count and len(drawn) < (MOST_SAMPLES if count > 1 else 1):
        drawn.append(space.suggest(study.ask()))
        constraints = constraints_of(spec.limits, spec.final.deployed(drawn[-1]), classes)
        if all(excess <= 0 for excess in constraints.values()):
            within.append(drawn[-1])
    return within or drawn[:count]


def _taught(config: TrialConfig, final: FinalSection, classes: int) -> float:
    """Return the operations of a student's training for each image, counted as those of a trial; 0 without one."""
    if not final.distil:
        return 0.0
    teacher = final.trained(config)
    student = final.deployed(config)
    taught = final.seeds * describe(teacher, classes).flops / PASSES  # all views of the image
    return (describe(student, classes).pass_flops + taught) * student.passes * _full_epochs(student)


def _least(
    config: TrialConfig, final: FinalSection, classes: int, images: int, device: torch.device, *, mixed: bool
) -> int:
    """Return the minimum bytes that each training of the study takes, if its winner is `config`."""
    least = least_memory(config, classes, images, device, mixed=mixed)
    if not final.distil:
        return least
    teacher = final.trained(config)
    teachers = [teacher] * final.seeds
    return max(least, least_memory(final.deployed(config), classes, images, device, mixed=mixed, teachers=teachers))


def _within_memory(
    configs: list[TrialConfig], final: FinalSection, classes: int, images: int, device: torch.device, workers: int
) -> list[TrialConfig]:
    free, mixed = memory_of_each(device, workers), is_mixed(device)
    least = {config: _least(config, final, classes, images, device, mixed=mixed) for config in configs}
    if (smallest := min(least.values())) > free:
        raise SearchError(
            f"A training of this study takes at least {smallest / 2**30:,.1f} GiB of memory, {free / 2**30:,.1f} GiB "
            f"are free on {device}"
            f"{f' for each of {workers} workers' if is_cuda(device) else ''}. "
            "Narrow depth, blocks, filters, growth or "
            f"batch_size{', or use fewer --workers' if is_cuda(device) and workers > 1 else ''}."
        )
    return [config for config in configs if least[config] <= free]


def _operations(config: TrialConfig, data: DataRecord, images: int, *, is_scored: bool = True) -> float:
    """Return the forward operations of a training on so many images that take as long as all of its work."""
    network = describe(config, len(data.class_names))
    scored = SCORING * network.views * data.valid * config.epochs if is_scored else 0
    return network.pass_flops * (images * config.passes * _full_epochs(config) + scored)


def _full_epochs(config: TrialConfig) -> float:
    """Return the epochs, counting those on smaller images by their share of pixels, to which operations scale."""
    return config.epochs - config.small_count * (1 - (config.first_side / config.side) ** 2)
