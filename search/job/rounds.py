"""How long several trainings take at a place, relative to a single one."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from search.executors.capacity import slowdown, threads_of_each
from search.job.place import Place
from search.study.spec import StudySpec


@dataclass(frozen=True)
class Rounds:
    """How long several trainings take at a place, relative to a single one on a worker's usual threads."""

    place: Place
    speed: Callable[[int], float]  # of a training with so many threads

    def of_trials(self, spec: StudySpec) -> float:
        """Return that of a search's trials, which divide the cores only if they are fewer than the workers."""
        is_few = spec.trials < self.place.workers and spec.limits.max_latency_ms is None
        return self.of_equal(spec.trials) if is_few else self.usual(spec.trials)

    def of_equal(self, trainings: int) -> float:
        """Return that of trainings of one length, which keep all workers or all cores busy to their end."""
        place = self.place
        if trainings >= place.workers or place.cluster or place.device.type != "cpu":
            return self.in_turns(trainings)
        threads = threads_of_each(trainings, place.workers, place.threads)
        return self.speed(place.threads) / self.speed(threads[0] or place.threads)

    def in_turns(self, trainings: int) -> float:
        """Return that of trainings of one length on a worker's usual threads, some of which pause and go on last."""
        if self.place.cluster or self.place.device.type != "cpu":
            return self.usual(trainings)
        return max(min(1, trainings), trainings / self.place.workers)  # no training takes no time

    def usual(self, trainings: int) -> float:
        """Return that of trainings on a worker's usual threads."""
        # The nodes of a cluster share no device.
        parallel = min(self.place.workers, trainings)
        factor = 1.0 if self.place.cluster else slowdown(self.place.device, parallel)
        return factor * turns(trainings, self.place.workers)


def turns(tasks: int, workers: int) -> float:
    """Return how many tasks of one length each worker has, one after the other."""
    # Many tasks even out; with few tasks, the last round counts fully.
    return tasks / workers if tasks > 3 * workers else math.ceil(tasks / workers)
