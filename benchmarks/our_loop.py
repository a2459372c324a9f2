"""A timed search of the toolkit with its coordinator, workers and storage, for throughput.py and profile.py."""

import json
import sys
import time
from contextlib import chdir
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna

from fmnist.config import TrialConfig, knob_fields
from fmnist.data.sources import Source, fingerprint
from fmnist.data.splits import SPLIT_SEED, search_splits
from fmnist.machine import cores
from search.errors import SearchError
from search.executors import EpochEnd, Event, Executor, Finished, Task
from search.executors.local import LocalExecutor
from search.executors.training import Setup
from search.job.interrupt import Interrupt
from search.job.progress.base import Progress
from search.job.search import optimize
from search.job.stage import Stage
from search.storage.opening import open_storage
from search.study.records import DataRecord
from search.study.spec import StudySpec
from search.study.study import Study, create_study
from search.study.trials import complete_trials


@dataclass(frozen=True)
class Work:
    """The input from throughput.py."""

    root: str  # the cleaned images
    knobs: dict[str, Any]
    trials: int
    workers: int
    device: str
    storage: str  # URL
    result: str  # file to write


@dataclass
class Watched:
    """An executor that wraps another one, and records waiting times and events."""

    inner: Executor
    seen: list[tuple[float, Event]] = field(default_factory=list)
    waits: list[tuple[float, float]] = field(default_factory=list)  # from, to

    def free(self) -> int:
        """Return the number of tasks that can start now."""
        return self.inner.free()

    def threads_of_each(self, count: int) -> list[int | None]:
        """Return the usual threads."""
        return [None] * count

    def turns_of_each(self, count: int) -> list[float]:
        """Return 1 for each training: none pauses."""
        return [1.0] * count

    def running(self) -> list[str]:
        """Return the keys of the unfinished tasks."""
        return self.inner.running()

    def submit(self, task: Task) -> None:
        """Start the task on a free worker."""
        self.inner.submit(task)

    def stop(self, key: str, *, pause: bool = False) -> None:
        """Stop the task after its epoch."""
        self.inner.stop(key, pause=pause)

    def events(self, timeout: float) -> list[Event]:
        """Return the events since the last call."""
        start = time.time()
        events = self.inner.events(timeout)
        now = time.time()
        self.waits.append((start, now))
        self.seen += [(now, event) for event in events]
        return events


@dataclass(frozen=True)
class Searched:
    """A finished search. Times are those of `time.time`."""

    study: Study
    watched: Watched
    images: int  # trained on, over all trials and epochs
    threads: int  # of a worker
    ended: float

    @property
    def began(self) -> float:
        """When the first trial started to train."""
        return min(at - (event.point.seconds or 0.0) for at, event in self.watched.seen if isinstance(event, EpochEnd))

    @property
    def ends(self) -> list[tuple[float, Finished]]:
        """The ends of the trials, with the time at which the coordinator received them, in order."""
        return [(at, event) for at, event in self.watched.seen if isinstance(event, Finished)]


def search(
    source: Source, config: TrialConfig, *, trials: int, workers: int, storage: str, device: str = "cpu"
) -> Searched:
    """Run a search of `trials` trials of `config` with different seeds; the pruner is called but prunes nothing.

    Raises: SearchError if a trial is not completed.
    """
    knobs = config.model_dump(include=set(knob_fields()))
    spec = StudySpec.parse(
        {"name": "benchmark", "search": {"trials": trials, "pruner": "median"}, "knobs": knobs}, context="benchmark"
    )
    study = create_study(open_storage(storage, create=True), spec, data := _record(source))
    study.optuna.pruner = optuna.pruners.MedianPruner(n_startup_trials=1_000_000)
    setup = Setup(source, SPLIT_SEED, device, threads=max(1, cores() // workers))
    # The study's files go to the folder of the storage.
    with (
        chdir(Path(storage.removeprefix("sqlite:///")).parent),
        Interrupt() as interrupt,
        LocalExecutor(setup, workers) as executor,
    ):
        watched = Watched(executor)
        optimize(Stage(study, spec, watched, Progress(), interrupt), len(data.class_names))
        ended = time.time()
    if len(complete_trials(study)) < trials:
        reasons = {str(trial.user_attrs.get("reason")) for trial in study.optuna.trials}
        raise SearchError(
            f"All {trials} trials must be completed, got {len(complete_trials(study))}. Reasons: {', '.join(reasons)}."
        )
    batch = min(config.batch_size, data.train)
    return Searched(study, watched, trials * config.epochs * (data.train // batch * batch), setup.threads, ended)


def main(work: Work) -> None:
    """Run the search and write its times and scores to `work.result`."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    config = TrialConfig.parse(work.knobs, context="benchmark")
    source = Source("benchmark", Path(work.root))
    result = search(source, config, trials=work.trials, workers=work.workers, storage=work.storage, device=work.device)
    figures = {
        "began": result.began,
        "ended": result.ended,
        "images": result.images,
        "macro_f1": [trial.value for trial in result.study.optuna.trials],
        "parameters": result.study.optuna.trials[0].user_attrs["parameters"],
        "threads": result.threads,
    }
    Path(work.result).write_text(json.dumps(figures), encoding="utf-8")


def _record(source: Source) -> DataRecord:
    splits, images = search_splits(source, seed=SPLIT_SEED), source.train()
    train, valid = len(splits.train), len(splits.valid)
    return DataRecord(
        name=source.name, fingerprint=fingerprint(images), train=train, valid=valid, class_names=images.class_names
    )


if __name__ == "__main__":
    main(Work(**json.loads(sys.argv[1])))
