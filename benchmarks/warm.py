"""Run a loop of throughput.py after a warm-up, so that the costs of a first training are not measured.

    python -m benchmarks.warm benchmarks.usual_loop|benchmarks.our_loop WORK

On a GPU the first training of a process creates CUDA's context and loads libraries and kernels, which takes longer than
an epoch. Both loops warm up with the steps of one epoch in their own code: the usual loop repeats one batch, ours
trains in each worker.
"""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, cast
from unittest.mock import patch

import torch
from torch.utils.data import DataLoader

from benchmarks import our_loop
from fmnist.config import TrialConfig
from fmnist.data.images import SIDE
from search.errors import SearchError
from search.executors import Failed, Task
from search.executors.local import LocalExecutor
from search.executors.training import Setup


def main(module: str, work: dict[str, Any]) -> None:
    """Warm up and run the loop of that module."""
    if module == our_loop.__name__:
        config = TrialConfig.parse(work["knobs"] | {"epochs": 1}, context="benchmark")
        with patch.object(our_loop, "LocalExecutor", partial(warm_executor, config)):
            our_loop.main(our_loop.Work(**work))
    else:
        run_usual_loop(work)


def run_usual_loop(values: dict[str, Any]) -> None:
    """Train and score once in this process, then run the usual loop."""
    from benchmarks import usual_loop  # here, because our workers import this module and do not need its imports

    work = usual_loop.Work(**values)
    batch = torch.rand(usual_loop.BATCH_SIZE, 1, SIDE, SIDE), torch.arange(usual_loop.BATCH_SIZE) % work.classes
    steps = cast("DataLoader[object]", [batch] * max(1, work.train // usual_loop.BATCH_SIZE))
    model = usual_loop.network(work.classes).to(work.device)
    usual_loop.train_epoch(model, steps, torch.optim.Adam(model.parameters()), work.device)
    usual_loop.validate(model, cast("DataLoader[object]", [batch]), work.device)
    usual_loop.main(work)


@contextmanager
def warm_executor(config: TrialConfig, setup: Setup, workers: int) -> Iterator[LocalExecutor]:
    """Yield an executor whose workers have trained once."""
    with LocalExecutor(setup, workers) as executor:
        while not all(worker.is_ready for worker in executor._pool):  # otherwise a worker could train twice
            executor.events(timeout=0.2)
        for number in range(workers):
            executor.submit(Task(f"warm-up {number}", config, number, "search"))
        while executor.running():
            for event in executor.events(timeout=0.2):
                if isinstance(event, Failed):
                    raise SearchError(
                        f"Each worker must train once before the measurement, and one failed: {event.reason}. Run "
                        "without --warm."
                    )
        yield executor


if __name__ == "__main__":
    main(sys.argv[1], json.loads(sys.argv[2]))
