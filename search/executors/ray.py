"""RayExecutor: workers on the nodes of a Ray cluster. Snapshots and checkpoints come back with the events, so no shared
folder is needed.

An actor trains one task after another; where it, or its node, dies, the task goes on elsewhere from its last snapshot.
"""

import math
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from typing import Any

from fmnist.atomic import folder_in_place, write_in_place
from search.errors import SearchError
from search.executors import EpochEnd, Event, Failed, FailureKind, Finished, Noted, Task
from search.executors.attempts import Attempts, Silence
from search.executors.cluster import Cluster
from search.executors.ray_worker import Carried, Ready, Trainer
from search.executors.training import Setup, Unusable, load_material

try:
    import ray
    from ray.exceptions import OutOfMemoryError, RayActorError, RayError

    from search.executors.ray_nodes import connect, describe_nodes, disconnect, fitting, nodes
except ImportError as missing:
    raise SearchError(
        f"--executor ray needs Ray, which is not installed ({missing.name} is missing): pip install "
        "'fmnist-search[cluster]', "
        "or in a checkout .venv/bin/pip install -e '.[cluster]'."
    ) from None

COUNT_SECONDS = 1.0  # between two looks at which nodes there are
EVENTS_AT_ONCE = 100  # of one worker, so that none keeps the others waiting


@dataclass
class _Worker:
    actor: Any
    silence: Silence
    events: Any = None  # Ray's generator of what it yields, while it trains
    task: Task | None = None
    started: float = 0.0
    is_ready: bool = False
    hung: str = ""  # why it was taken for hung, and killed


@dataclass
class RayExecutor:
    """Trains tasks on the cluster, as many side by side as fit there at the moment. Use it as a context manager.

    Raises: SearchError where no cluster answers, or a training does not fit any of its nodes.
    """

    setup: Setup
    cluster: Cluster
    trial_timeout: float | None = None
    _pool: list[_Worker] = field(default_factory=list)
    _attempts: Attempts = field(default_factory=Attempts)
    _slowest: list[float] = field(default_factory=lambda: [0.0])  # seconds of the slowest epoch of any task
    _counted: tuple[float, int] = (-math.inf, 0)  # when the nodes were looked at, and how many workers fit them
    _exit: ExitStack = field(default_factory=ExitStack)

    def __enter__(self) -> "RayExecutor":
        with ExitStack() as undo:
            connect(self.cluster.address, undo)
            undo.callback(disconnect)
            if not self._places():
                raise SearchError(
                    f"A training takes {self._wanted()}, and no node of the cluster has as much: {describe_nodes()}."
                )
            material = load_material(self.setup)
            # Once a node: workers map them from the store that all processes of the node share.
            splits, full = ray.put(material.splits), ray.put(material.full())
            self._material = (splits, full, material.origin)
            self._exit = undo.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._pool:
            ray.kill(worker.actor)
        # Ray's native code frees what these refer to. It does so while it runs; what is left until its end, it has
        # crashed over.
        self._pool.clear()
        del self._material
        self._exit.close()

    def describe(self) -> str:
        """The nodes, for the study's records."""
        return f"Ray, {describe_nodes()}"

    def free(self) -> int:
        """How many more tasks can start now; nodes that have joined count."""
        return max(0, self._places() - len(self.running()))

    def running(self) -> list[str]:
        """Keys of the tasks that were submitted and are not over."""
        return [task.key for task in self._attempts.waiting] + [worker.task.key for worker in self._pool if worker.task]

    def submit(self, task: Task) -> None:
        """Starts the task on a free worker, or on a new one."""
        self._attempts.waiting.append(task)
        self._assign()

    def stop(self, key: str) -> None:
        """Asks the task to end after its epoch; its Finished event still comes."""
        if key in self.running():
            self._attempts.stop(key)
        for worker in self._pool:
            if worker.task and worker.task.key == key:
                worker.actor.stop.remote(key)

    def events(self, timeout: float) -> list[Event]:
        """What happened since the last call, waiting up to `timeout` seconds for something to happen.

        Raises: SearchError where one worker after the other dies before it could train.
        """
        found: list[Event] = []
        at_work = {worker.events: worker for worker in self._pool if worker.task}
        if not at_work:
            time.sleep(timeout)
        else:
            for ready in ray.wait(list(at_work), num_returns=1, timeout=timeout, fetch_local=False)[0]:
                found += self._receive(at_work[ready])
            for ready in ray.wait(list(at_work), num_returns=len(at_work), timeout=0, fetch_local=False)[0]:
                if at_work[ready].task:
                    found += self._receive(at_work[ready])
        self._kill_hung()
        found += self._attempts.drop_stopped()
        self._assign()
        return found

    def _assign(self) -> None:
        while self._attempts.waiting:
            idle = next((worker for worker in self._pool if worker.task is None), None)
            if idle is None:
                if self._pool and len(self._pool) >= self._places():
                    return  # one more would wait for room that the idle ones hold
                idle = self._new_worker()
            task = self._attempts.waiting.popleft()
            snapshot = task.snapshot.read_bytes() if task.snapshot and task.snapshot.exists() else None
            # The files lie here; there, each worker has a folder of its own.
            idle.events = idle.actor.train.remote(
                replace(task, checkpoint=None, snapshot=None), snapshot, task.checkpoint is not None
            )
            idle.task, idle.started = task, time.monotonic()
            idle.silence.begin()

    def _new_worker(self) -> _Worker:
        options = {"num_cpus": self.cluster.cpus_per_trial, "num_gpus": self.cluster.gpus_per_trial}
        # Ray itself tries nothing again: what died is counted here. Two threads: one trains, one hears of a stop.
        kind = ray.remote(Trainer).options(**options, max_restarts=0, max_task_retries=0, max_concurrency=2)
        worker = _Worker(kind.remote(self.setup, *self._material), Silence(self._slowest, self.trial_timeout))
        self._pool.append(worker)
        return worker

    def _receive(self, worker: _Worker) -> list[Event]:
        found: list[Event] = []
        for _ in range(EVENTS_AT_ONCE):
            try:
                message = ray.get(next(worker.events))
            except StopIteration:
                break
            except RayError as error:
                return found + self._replace(worker, error)
            found += self._take(worker, message)
            if worker.task is None or not ray.wait([worker.events], timeout=0, fetch_local=False)[0]:
                break
        return found

    def _take(self, worker: _Worker, message: Event | Ready | Carried | Unusable) -> list[Event]:
        worker.silence.heard(is_epoch=isinstance(message, EpochEnd))
        match message:
            case Ready():
                worker.is_ready = True
                self._attempts.started()
                return []
            case Carried():
                assert worker.task is not None
                return _stored(worker.task, message)
            case Unusable():
                return self._retire(worker, message)
            case Finished(key) | Failed(key):
                worker.task = None
                self._attempts.over(key)
        return [message]

    def _retire(self, worker: _Worker, last: Unusable) -> list[Event]:
        assert worker.task is not None
        task, worker.task = worker.task, None
        self._pool.remove(worker)
        ray.kill(worker.actor)
        if last.failed:
            self._attempts.over(task.key)
            return [last.failed]
        note = Noted(task.key, f"its worker process can train no more: {last.reason}")
        return [note, *self._attempts.died(task, last.reason, "error", time.monotonic() - worker.started)]

    def _replace(self, worker: _Worker, error: RayError) -> list[Event]:
        self._pool.remove(worker)
        end = worker.hung or _end_in_words(error)
        with suppress(RayError):
            ray.kill(worker.actor)
        if not worker.is_ready:
            self._attempts.not_started(end)
        task, worker.task = worker.task, None
        if task is None:
            return []
        kind: FailureKind = "memory" if isinstance(error, OutOfMemoryError) else "error"
        return self._attempts.died(task, end, kind, time.monotonic() - worker.started)

    def _kill_hung(self) -> None:
        for worker in self._pool:
            if worker.task and not worker.hung and (silent := worker.silence.too_long(is_ready=worker.is_ready)):
                worker.hung = f"no word from it for {silent:.0f} s"
                ray.kill(worker.actor)  # its end is noticed as that of any other

    def _places(self) -> int:
        at, count = self._counted
        if time.monotonic() - at > COUNT_SECONDS:
            count = sum(fitting(node, self.cluster) for node in nodes())
            self._counted = time.monotonic(), count
        return count if self.cluster.max_workers is None else min(count, self.cluster.max_workers)

    def _wanted(self) -> str:
        gpus = f" and {self.cluster.gpus_per_trial:g} GPUs" if self.cluster.gpus_per_trial else ""
        return f"{self.cluster.cpus_per_trial:g} CPUs{gpus}"


def _stored(task: Task, carried: Carried) -> list[Event]:
    try:
        if task.snapshot and carried.kind == "snapshot":
            write_in_place(task.snapshot, next(iter(carried.files.values())))
        elif task.checkpoint and carried.kind == "checkpoint":
            with folder_in_place(task.checkpoint) as fresh:
                for name, content in carried.files.items():
                    (fresh / name).write_bytes(content)
    except OSError as error:
        if carried.kind == "checkpoint":
            raise SearchError(
                f"{task.checkpoint} must be writable: {error.strerror or error}. Free space there."
            ) from error
        return [Noted(task.key, f"no snapshot: {error.strerror or error}")]
    return []


def _end_in_words(error: RayError) -> str:
    if isinstance(error, OutOfMemoryError):
        return "killed for want of memory on its node"
    if isinstance(error, RayActorError):
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        told = next(
            (line for line in lines if "died" in line.lower() or "exit" in line.lower()), lines[0] if lines else ""
        )
        return told or type(error).__name__
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
