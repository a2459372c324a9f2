"""Place: where the trainings of a stage run, and what carries them there."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch

from fmnist.data.sources import Source
from fmnist.data.splits import SPLIT_SEED
from fmnist.device import choose_device, device_name
from fmnist.machine import cores
from fmnist.precision import is_mixed, why_float32
from search.errors import SearchError
from search.executors import Executor
from search.executors.capacity import default_workers
from search.executors.cluster import Cluster, choose_cluster
from search.executors.local import LocalExecutor
from search.executors.training import Setup
from search.job.options import PlaceOptions
from search.study.environment import capture_environment
from search.study.records import Environment
from search.terminal.wording import counted


@dataclass(frozen=True)
class Place:
    """Worker processes on this machine, or a Ray cluster."""

    device: torch.device  # of this machine; the final networks are scored on it
    workers: int  # of a cluster an estimate: its nodes are known once it is connected
    threads: int  # of each worker
    cluster: Cluster | None
    trial_timeout: float | None

    def __str__(self) -> str:
        if self.cluster is not None:
            return str(self.cluster)
        return f"{self.device}, {counted(self.workers, 'worker')} of {counted(self.threads, 'thread')}"

    @property
    def environment(self) -> Environment:
        """The software and hardware of this place."""
        precision = ", bfloat16" if is_mixed(self.device) else ""  # follows the hardware, and moves the fourth decimal
        return capture_environment(
            device=device_name(self.device) + precision, workers=self.workers, threads_per_worker=self.threads
        )

    @contextmanager
    def open(self, source: Source, announce: Callable[[str], None]) -> Iterator[tuple[Executor, Environment]]:
        """Start the workers on the images of the source, and end them after the block."""
        device = self.cluster.device if self.cluster else str(self.device)
        setup = Setup(source, SPLIT_SEED, device, self.threads)
        if self.cluster is None:
            # One answer for the run and all its workers. The machines of a cluster differ: each worker decides there.
            setup = replace(setup, mixed=is_mixed(self.device))
            if note := why_float32(self.device):
                announce(note)
            with LocalExecutor(setup, self.workers, self.trial_timeout) as local:
                if local.sharing.note:
                    announce(local.sharing.note)
                sharing = ", side by side by MPS" if local.sharing.by_mps else ""
                yield local, self.environment.model_copy(update={"device": self.environment.device + sharing})
        else:
            from search.executors.ray import RayExecutor

            with RayExecutor(setup, self.cluster, self.trial_timeout) as ray:
                yield ray, self.environment.model_copy(update={"device": ray.describe(), "workers": ray.free()})


def choose_place(options: PlaceOptions) -> Place:
    """Return the place that the options name.

    Raises: FmnistError if options exclude each other, or the device or Ray is missing.
    """
    cluster = choose_cluster(
        options.get("executor", "local"),
        options.get("address"),
        options.get("cpus_per_trial"),
        options.get("gpus_per_trial"),
        options.get("max_workers"),
        local_option=options.get("workers") or options.get("threads") or options.get("device"),
    )
    device = choose_device(options.get("device"))
    if cluster is None:
        workers, threads = _divided(device, options.get("workers"), options.get("threads"))
    else:
        threads = cluster.threads
        workers = cluster.max_workers or max(1, cores() // threads)
    return Place(device, workers, threads, cluster, options.get("trial_timeout"))


def _divided(device: torch.device, workers: int | None, threads: int | None) -> tuple[int, int]:
    """Return the workers and the threads of each; what is not asked for follows from the cores.

    Raises: SearchError if a training is to have more threads than there are cores.
    """
    if threads is None:
        workers = workers or default_workers(device)
        return workers, max(1, cores() // workers)
    if threads > cores():
        raise SearchError(f"--threads must be at most the {counted(cores(), 'core')} of this machine, got {threads}.")
    most = default_workers(device)
    return workers or max(1, min(most, cores() // threads)), threads
