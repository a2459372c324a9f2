"""RayExecutor: workers on the nodes of a Ray cluster.

An actor trains one task after another. If it or its node dies, the task resumes elsewhere from its last snapshot.
Snapshots and checkpoints are sent with the events, and teachers with their student's task, so no shared folder is
needed.
"""

import math
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from typing import Any

from fmnist.atomic import folder_in_place, write_in_place
from search.errors import SearchError
from search.executors import EpochEnd, Event, Failed, FailureKind, Finished, Message, Task
from search.executors.attempts import Attempts, Silence
from search.executors.cluster import Cluster
from search.executors.ray_worker import Carried, Ready, Trainer
from search.executors.teachers import files_of
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

COUNT_SECONDS = 1.0  # between two counts of the nodes
EVENTS_AT_ONCE = 100  # of one worker, so that no worker blocks the others


@dataclass
class _Worker:
    actor: Any
    silence: Silence
    events: Any = None  # Ray's generator of its events, while it trains
    task: Task | None = None
    started: float = 0.0
    is_ready: bool = False
    hung: str = ""  # why it was treated as hung, and killed


@dataclass
class RayExecutor:
    """Trains as many tasks in parallel as currently fit the cluster. Use it as a context manager.

    Raises: SearchError if no cluster answers, or a training fits none of its nodes.
    """

    setup: Setup
    cluster: Cluster
    trial_timeout: float | None = None
    _pool: list[_Worker] = field(default_factory=list)
    _attempts: Attempts = field(default_factory=Attempts)
    _slowest: list[float] = field(default_factory=lambda: [0.0])  # seconds of the slowest epoch of any task
    _counted: tuple[float, int] = (-math.inf, 0)  # when the nodes were counted, and how many workers fit them
    _exit: ExitStack = field(default_factory=ExitStack)

    def __enter__(self) -> "RayExecutor":
        with ExitStack() as undo:
            connect(self.cluster.address, undo)
            undo.callback(disconnect)
            if not self._places():
                raise SearchError(
                    f"A training must fit a node: it needs {self._demand()}, the cluster has {describe_nodes()}. Lower "
                    "--cpus-per-trial or --gpus-per-trial."
                )
            material = load_material(self.setup)
            # Stored once per node: workers map them from the store that all processes of the node share.
            splits, full = ray.put(material.splits), ray.put(material.full())
            self._material = (splits, full, material.origin)
            self._exit = undo.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._pool:
            ray.kill(worker.actor)
        # Ray frees the objects behind these references. It has crashed when some were left at its shutdown.
        self._pool.clear()
        del self._material
        self._exit.close()

    def describe(self) -> str:
        """Return a description of the nodes, for the study's records."""
        return f"Ray, {describe_nodes()}"

    def free(self) -> int:
        """Return how many more tasks can start now, nodes that have joined included."""
        return max(0, self._places() - len(self.running()))

    def threads_of_each(self, count: int) -> list[int | None]:
        """Return no threads: Ray has reserved the CPUs of each training."""
        return [None] * count

    def turns_of_each(self, count: int) -> list[float]:
        """Return 1 for each training: another node would have to begin a paused one again."""
        return [1.0] * count

    def running(self) -> list[str]:
        """Return the keys of the submitted tasks that have not ended."""
        return [task.key for task in self._attempts.waiting] + [worker.task.key for worker in self._pool if worker.task]

    def submit(self, task: Task) -> None:
        """Start the task on a free worker, or on a new one."""
        self._attempts.waiting.append(task)
        self._assign()

    def stop(self, key: str, *, pause: bool = False) -> None:
        """Ask the task to end after the current epoch, or to pause; its Finished event still arrives."""
        if key in self.running():
            self._attempts.stop(key)
        for worker in self._pool:
            if worker.task and worker.task.key == key:
                worker.actor.stop.remote(key, "pause" if pause else "end")

    def events(self, timeout: float) -> list[Event]:
        """Return the events since the last call, waiting up to `timeout` seconds for the first one.

        Raises: SearchError if several workers in a row die before they could train.
        """
        events: list[Event] = []
        busy = {worker.events: worker for worker in self._pool if worker.task}
        if not busy:
            time.sleep(timeout)
        else:
            for ready in ray.wait(list(busy), num_returns=1, timeout=timeout, fetch_local=False)[0]:
                events += self._receive(busy[ready])
            for ready in ray.wait(list(busy), num_returns=len(busy), timeout=0, fetch_local=False)[0]:
                if busy[ready].task:
                    events += self._receive(busy[ready])
        self._kill_hung()
        events += self._attempts.drop_stopped()
        self._assign()
        return events

    def _assign(self) -> None:
        while self._attempts.waiting:
            idle = next((worker for worker in self._pool if worker.task is None), None)
            if idle is None:
                if self._pool and len(self._pool) >= self._places():
                    return  # a further worker would wait for resources that the present ones hold
                idle = self._new_worker()
            task = self._attempts.waiting.popleft()
            snapshot = task.snapshot.read_bytes() if task.snapshot and task.snapshot.exists() else None
            # The files are stored on this machine; a worker uses a temporary folder on its node.
            idle.events = idle.actor.train.remote(
                replace(task, checkpoint=None, snapshot=None, teachers=()),
                snapshot,
                task.checkpoint is not None,
                [files_of(teacher) for teacher in task.teachers],
            )
            idle.task, idle.started = task, time.monotonic()
            idle.silence.begin()

    def _new_worker(self) -> _Worker:
        options = {"num_cpus": self.cluster.cpus_per_trial, "num_gpus": self.cluster.gpus_per_trial}
        # Ray must not retry: Attempts counts the tries. Two threads: one trains, one receives the request to stop.
        actor_class = ray.remote(Trainer).options(**options, max_restarts=0, max_task_retries=0, max_concurrency=2)
        worker = _Worker(actor_class.remote(self.setup, *self._material), Silence(self._slowest, self.trial_timeout))
        self._pool.append(worker)
        return worker

    def _receive(self, worker: _Worker) -> list[Event]:
        events: list[Event] = []
        for _ in range(EVENTS_AT_ONCE):
            try:
                message = ray.get(next(worker.events))
            except StopIteration:
                break
            except RayError as error:
                return events + self._replace(worker, error)
            events += self._take(worker, message)
            if worker.task is None or not ray.wait([worker.events], timeout=0, fetch_local=False)[0]:
                break
        return events

    def _take(self, worker: _Worker, message: Event | Ready | Carried | Unusable) -> list[Event]:
        worker.silence.heard(is_epoch=isinstance(message, EpochEnd))
        match message:
            case Ready():
                worker.is_ready = True
                self._attempts.started()
                return []
            case Carried():
                assert worker.task is not None
                return _store(worker.task, message)
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
        message = Message(task.key, f"its worker process became unusable: {last.reason}")
        return [message, *self._attempts.died(task, last.reason, "error", time.monotonic() - worker.started)]

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
                worker.hung = f"no message for {silent:.0f} s"
                ray.kill(worker.actor)  # replaced like any other dead worker

    def _places(self) -> int:
        counted_at, count = self._counted
        if time.monotonic() - counted_at > COUNT_SECONDS:
            count = sum(fitting(node, self.cluster) for node in nodes())
            self._counted = time.monotonic(), count
        return count if self.cluster.max_workers is None else min(count, self.cluster.max_workers)

    def _demand(self) -> str:
        gpus = f" and {self.cluster.gpus_per_trial:g} GPUs" if self.cluster.gpus_per_trial else ""
        return f"{self.cluster.cpus_per_trial:g} CPUs{gpus}"


def _store(task: Task, carried: Carried) -> list[Event]:
    try:
        if task.snapshot and carried.kind == "snapshot":
            write_in_place(task.snapshot, next(iter(carried.files.values())))
        elif task.checkpoint and carried.kind == "checkpoint":
            with folder_in_place(task.checkpoint) as folder:
                for name, content in carried.files.items():
                    (folder / name).write_bytes(content)
    except OSError as error:
        if carried.kind == "checkpoint":
            raise SearchError(
                f"{task.checkpoint} must be writable: {error.strerror or error}. Free space there."
            ) from error
        return [Message(task.key, f"no snapshot: {error.strerror or error}")]
    return []


def _end_in_words(error: RayError) -> str:
    if isinstance(error, OutOfMemoryError):
        return "killed because memory ran out on its node"
    if isinstance(error, RayActorError):
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        cause = next(
            (line for line in lines if "died" in line.lower() or "exit" in line.lower()), lines[0] if lines else ""
        )
        return cause or type(error).__name__
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
