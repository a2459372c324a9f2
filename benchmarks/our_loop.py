"""The toolkit's own search with a stopwatch: the real coordinator, workers and storage. throughput.py starts it,
profile.py calls it.
"""

import json
import sys
import time
from contextlib import chdir
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna

from fmnist.config import TrialConfig
from fmnist.data.sources import Source, fingerprint
from fmnist.data.splits import SPLIT_SEED, search_splits
from fmnist.machine import cores
from search.errors import SearchError
from search.executors import EpochEnd, Event, Executor, Finished, Task
from search.executors.local import LocalExecutor
from search.executors.training import Setup
from search.job.interrupt import Interrupt
from search.job.progress.display import Silent
from search.job.search import optimize
from search.storage.opening import open_storage
from search.study.records import DataRecord
from search.study.spec import StudySpec
from search.study.study import Study, create_study
from search.study.trials import complete_trials


@dataclass(frozen=True)
class Work:
    """What throughput.py asks for."""

    root: str  # the cleaned images
    knobs: dict[str, Any]
    trials: int
    workers: int
    device: str
    storage: str  # URL
    result: str  # file to write


@dataclass
class Watched:
    """An executor that leaves all to another one, and notes when it was waited for and what came."""

    inner: Executor
    seen: list[tuple[float, Event]] = field(default_factory=list)
    waits: list[tuple[float, float]] = field(default_factory=list)  # from, to

    def free(self) -> int:
        """How many more tasks can start now."""
        return self.inner.free()

    def running(self) -> list[str]:
        """Keys of the tasks that were submitted and are not over."""
        return self.inner.running()

    def submit(self, task: Task) -> None:
        """Starts the task on a free worker."""
        self.inner.submit(task)

    def stop(self, key: str) -> None:
        """Asks the task to end after its epoch."""
        self.inner.stop(key)

    def events(self, timeout: float) -> list[Event]:
        """What happened since the last call."""
        start = time.time()
        found = self.inner.events(timeout)
        now = time.time()
        self.waits.append((start, now))
        self.seen += [(now, event) for event in found]
        return found


@dataclass(frozen=True)
class Searched:
    """A search that is over. Times are those of `time.time`."""

    study: Study
    watched: Watched
    images: int  # trained on, over all trials and epochs
    threads: int  # of a worker
    ended: float

    @property
    def began(self) -> float:
        """When the first trial of all began to train."""
        return min(at - event.seconds for at, event in self.watched.seen if isinstance(event, EpochEnd))

    @property
    def ends(self) -> list[tuple[float, Finished]]:
        """Of the trials, with when the coordinator heard of them, in that order."""
        return [(at, event) for at, event in self.watched.seen if isinstance(event, Finished)]


def search(
    source: Source, config: TrialConfig, *, trials: int, workers: int, storage: str, device: str = "cpu"
) -> Searched:
    """`trials` trainings of `config`, each with a seed of its own, have gone through the search loop; the pruner is
    asked, and prunes none.

    Raises: SearchError where a trial does not train to its end.
    """
    knobs = config.model_dump()
    spec = StudySpec.parse(
        {"name": "benchmark", "search": {"trials": trials, "pruner": "median"}, "knobs": knobs}, where="benchmark"
    )
    study = create_study(open_storage(storage, create=True), spec, data := _record(source))
    study.optuna.pruner = optuna.pruners.MedianPruner(n_startup_trials=1_000_000)
    setup = Setup(source, SPLIT_SEED, device, threads=max(1, cores() // workers))
    # The study's files go where its storage is.
    with (
        chdir(Path(storage.removeprefix("sqlite:///")).parent),
        Interrupt() as interrupt,
        LocalExecutor(setup, workers) as executor,
    ):
        watched = Watched(executor)
        optimize(study, spec, watched, Silent(), interrupt, len(data.class_names))
        ended = time.time()
    if len(complete_trials(study)) < trials:
        reasons = {str(trial.user_attrs.get("reason")) for trial in study.optuna.trials}
        raise SearchError(
            f"All {trials} trials must train to their end, {len(complete_trials(study))} did. Reasons: "
            f"{', '.join(reasons)}."
        )
    batch = min(config.batch_size, data.train)
    return Searched(study, watched, trials * config.epochs * (data.train // batch * batch), setup.threads, ended)


def main(work: Work) -> None:
    """The trials are trained, and `work.result` says when and how well."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    config = TrialConfig.parse(work.knobs, where="benchmark")
    source = Source("benchmark", Path(work.root))
    found = search(source, config, trials=work.trials, workers=work.workers, storage=work.storage, device=work.device)
    result = {
        "began": found.began,
        "ended": found.ended,
        "images": found.images,
        "macro_f1": [trial.value for trial in found.study.optuna.trials],
        "parameters": found.study.optuna.trials[0].user_attrs["parameters"],
        "threads": found.threads,
    }
    Path(work.result).write_text(json.dumps(result), encoding="utf-8")


def _record(source: Source) -> DataRecord:
    splits, images = search_splits(source, seed=SPLIT_SEED), source.train()
    train, valid = len(splits.train), len(splits.valid)
    return DataRecord(
        name=source.name, fingerprint=fingerprint(images), train=train, valid=valid, class_names=images.class_names
    )


if __name__ == "__main__":
    main(Work(**json.loads(sys.argv[1])))
