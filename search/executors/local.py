"""LocalExecutor: long-lived worker processes on this machine, each with its share of the cores."""

import signal
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerProcess, SpawnProcess

import torch

from search.executors import EpochEnd, Event, Failed, FailureKind, Finished, Message, Task
from search.executors.attempts import Attempts, Silence
from search.executors.capacity import threads_of_each, turns_of_each
from search.executors.mps import Sharing, shared_gpu
from search.executors.processes import on_their_own, worker_context
from search.executors.training import Setup, Unusable
from search.executors.worker import READY, Stop, serve


@dataclass
class _Worker:
    process: ForkServerProcess | SpawnProcess
    pipe: Connection
    silence: Silence
    is_ready: bool = False
    task: Task | None = None
    started: float = 0.0
    end: str = ""  # why this process killed it, if it did


@dataclass
class LocalExecutor:
    """Trains tasks in `workers` processes. Workers that die, hang or become unusable are replaced, their tasks retried.

    On a GPU the workers compute in parallel if CUDA MPS is available; `sharing` has the details.

    A worker counts as hung after `trial_timeout` seconds without a message, or, if that is None, after far longer than
    its epochs take. Use the executor as a context manager: leaving it ends the processes.
    """

    setup: Setup
    workers: int
    trial_timeout: float | None = None
    sharing: Sharing = field(default_factory=Sharing)
    _ends: ExitStack = field(default_factory=ExitStack)
    _pool: list[_Worker] = field(default_factory=list)
    _attempts: Attempts = field(default_factory=Attempts)
    _slowest: list[float] = field(default_factory=lambda: [0.0])  # seconds of the slowest epoch of any task

    def __enter__(self) -> "LocalExecutor":
        with ExitStack() as undo:
            self.sharing = undo.enter_context(shared_gpu(torch.device(self.setup.device), self.workers))
            undo.callback(self._end_workers)  # runs first: the workers must end before the sharing of the GPU does
            for _ in range(self.workers):
                self._pool.append(self._spawn())
            self._ends = undo.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.close()

    def free(self) -> int:
        """Return how many more tasks can start now."""
        return self.workers - len(self.running())

    def running(self) -> list[str]:
        """Return the keys of the submitted tasks that have not ended."""
        return [task.key for task in self._attempts.waiting] + [worker.task.key for worker in self._pool if worker.task]

    def threads_of_each(self, count: int) -> list[int | None]:
        """Return the threads of each of so many trainings; on a GPU they do not matter."""
        if self.setup.device != "cpu":
            return [None] * count
        return threads_of_each(count, self.workers, self.setup.threads)

    def turns_of_each(self, count: int) -> list[float]:
        """Return the share of each training after which it pauses; on a GPU, which they share, none does."""
        return [1.0] * count if self.setup.device != "cpu" else turns_of_each(count, self.workers)

    def submit(self, task: Task) -> None:
        """Start the task on a free worker, or as soon as a worker has loaded its images."""
        self._attempts.waiting.append(task)
        self._assign()

    def stop(self, key: str, *, pause: bool = False) -> None:
        """Ask the task to end after the current epoch, or to pause; its Finished event still arrives."""
        if key in self.running():
            self._attempts.stop(key)
        for worker in self._pool:
            if worker.task and worker.task.key == key:
                _send(worker, Stop(key, "pause" if pause else "end"))

    def events(self, timeout: float) -> list[Event]:
        """Return the events since the last call, waiting up to `timeout` seconds for the first one.

        Raises: SearchError if several workers in a row die before they could train.
        """
        events: list[Event] = []
        # Pipes first: the messages of a dead worker are read before its death is handled.
        signalled = wait(
            [worker.pipe for worker in self._pool] + [worker.process.sentinel for worker in self._pool], timeout
        )
        for worker in list(self._pool):
            if worker.pipe in signalled:
                events += self._receive(worker)
            elif worker.process.sentinel in signalled:
                events += self._replace(worker)
        self._kill_hung()  # after reading messages: this process may itself have been paused
        events += self._attempts.drop_stopped()
        self._assign()
        return events

    def _end_workers(self) -> None:
        for worker in self._pool:
            worker.process.kill()
        for worker in self._pool:
            worker.process.join()
            worker.pipe.close()  # only now: a worker that is in the middle of a message would show an error

    def _spawn(self) -> _Worker:
        context = worker_context()
        ours, theirs = context.Pipe()
        process = context.Process(target=serve, args=(theirs, self.setup, dict(self.sharing.environ)), daemon=True)
        with on_their_own():
            process.start()
        theirs.close()  # so that the pipe closes when the worker ends
        return _Worker(process, ours, Silence(self._slowest, self.trial_timeout))

    def _assign(self) -> None:
        for worker in self._pool:
            if self._attempts.waiting and worker.is_ready and worker.task is None:
                worker.task = self._attempts.waiting.popleft()
                worker.started = time.monotonic()
                worker.silence.begin()
                _send(worker, worker.task)

    def _receive(self, worker: _Worker) -> list[Event]:
        try:
            message = worker.pipe.recv()
        except (EOFError, OSError):  # an OSError if it died in the middle of a message
            return self._replace(worker)
        worker.silence.heard(is_epoch=isinstance(message, EpochEnd))
        if message == READY:
            worker.is_ready = True
            self._attempts.started()
            return []
        if isinstance(message, Unusable):
            return self._retire(worker, message)
        if isinstance(message, Finished | Failed):
            worker.task = None
            self._attempts.over(message.key)
        event: Event = message
        return [event]

    def _retire(self, worker: _Worker, last: Unusable) -> list[Event]:
        assert worker.task is not None
        event: Event = last.failed or Message(worker.task.key, f"its worker process became unusable: {last.reason}")
        if last.failed:
            self._attempts.over(worker.task.key)
            worker.task = None
        worker.end = last.reason
        worker.process.kill()  # it would end by itself, but must not receive another task before
        return [event, *self._replace(worker)]

    def _kill_hung(self) -> None:
        for worker in self._pool:
            if (worker.task or not worker.is_ready) and (silent := worker.silence.too_long(is_ready=worker.is_ready)):
                worker.end = f"no message for {silent:.0f} s"
                worker.process.kill()  # replaced like any other dead worker

    def _replace(self, worker: _Worker) -> list[Event]:
        worker.process.join()
        worker.pipe.close()
        end = worker.end or _end_in_words(worker.process.exitcode)
        if not worker.is_ready:
            self._attempts.not_started(end)
        self._pool[self._pool.index(worker)] = self._spawn()
        if worker.task is None:
            return []
        # A task whose workers are killed on every try most likely ran out of memory: the sampler should learn from it.
        kind: FailureKind = "memory" if worker.process.exitcode == -signal.SIGKILL and not worker.end else "error"
        return self._attempts.died(worker.task, end, kind, time.monotonic() - worker.started)


def _end_in_words(exitcode: int | None) -> str:
    if exitcode == -signal.SIGKILL:
        return "killed by the system, most likely because memory ran out, or by a user (exit code -9)"
    return f"exit code {exitcode}"


def _send(worker: _Worker, message: Task | Stop) -> None:
    # The next events() detects a worker that has died, and retries its task.
    with suppress(BrokenPipeError, ConnectionResetError):
        worker.pipe.send(message)
