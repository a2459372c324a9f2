"""Fixed trainings of the stages after the search: every task is trained once."""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from fmnist.curve import CurvePoint
from fmnist.snapshot import snapshot_epoch
from search.errors import SearchError
from search.executors import EpochEnd, Event, Failed, Finished, Message, NoTaskYet, Predicted, Resumed, Task, drive
from search.job.interrupt import InterruptedRunError
from search.job.stage import Stage
from search.study.curves import note_curve
from search.study.records import StageName
from search.study.timing import timed

Keep = Callable[[Task, float | None, float], None]
Drop = Callable[[Task, str], None]
See = Callable[[Predicted], None]


def train_all(
    stage: Stage,
    name: StageName,
    tasks: Sequence[Task],
    keep: Keep,
    drop: Drop,
    *,
    see: See = lambda _: None,
    all_or_none: bool = False,
    wide: Mapping[str, int] = MappingProxyType({}),
    turns: Mapping[str, int] = MappingProxyType({}),
) -> None:
    """Train each task, write the curves of the completed ones to the study, and time the stage.

    Args:
        keep: Called for a completed task with its last validation macro F1, if it has one, and its seconds.
        drop: Called for a diverged task with the reason; retrying would not help.
        see: Called with a task's predictions on the validation images, before `keep`.
        all_or_none: Stop all tasks when one diverges.
        wide: The threads of tasks that have more than a worker usually has, by their keys.
        turns: The epoch after which a task pauses if another one waits, by its key. It begins first and goes on last,
            also where its pause was in an earlier run.

    Raises: SearchError if a training fails in another way. InterruptedRunError or StorageLostError; completed tasks are
    kept.
    """
    tasks = [replace(task, threads=wide.get(task.key)) for task in tasks]
    trainings = _Trainings(stage, name, tasks, keep, drop, see, all_or_none, turns)
    study, executor = stage.study, stage.executor
    with timed(study, name, stage.clock) as note_time:

        def stopped() -> bool:  # called several times a second, with or without events
            note_time()
            return stage.interrupt.requested

        drive(executor, trainings.start, trainings.handle, stopped)
    if stage.interrupt.requested:
        raise InterruptedRunError
    stage.progress.end()


def wide_tasks(stage: Stage, tasks: Sequence[Task]) -> dict[str, int]:
    """Return the threads of a stage's equally long tasks, by their keys, where idle workers leave some.

    `tasks`: all of the stage, done ones included, so that a task that is resumed has the threads that it had.
    """
    threads = stage.executor.threads_of_each(len(tasks))
    return {task.key: count for task, count in zip(tasks, threads, strict=True) if count is not None}


def turns_of(stage: Stage, tasks: Sequence[Task]) -> dict[str, int]:
    """Return the epoch after which a task pauses, by its key, for those of a stage's equally long tasks that do.

    `tasks`: all of the stage, done ones included.
    """
    shares = stage.executor.turns_of_each(len(tasks))
    epochs = {task.key: round(share * task.config.epochs) for task, share in zip(tasks, shares, strict=True)}
    return {task.key: epochs[task.key] for task in tasks if 0 < epochs[task.key] < task.config.epochs}


@dataclass
class _Trainings:
    stage: Stage
    name: StageName
    tasks: Sequence[Task]
    keep: Keep
    drop: Drop
    see: See
    all_or_none: bool
    turns: Mapping[str, int]
    curves: dict[str, list[CurvePoint]] = field(default_factory=dict)
    pausing: set[str] = field(default_factory=set)
    is_void: bool = False

    def __post_init__(self) -> None:
        self.by_key = {task.key: task for task in self.tasks}
        self.queue = deque(sorted(self.tasks, key=self._rank))
        self.progress = self.stage.progress

    def _rank(self, task: Task) -> int:
        turn = self.turns.get(task.key)
        if turn is None:
            return 1
        has_paused = task.snapshot is not None and snapshot_epoch(task.snapshot) >= turn
        return 2 if has_paused else 0

    def start(self) -> Task | NoTaskYet | None:
        if self.is_void or not self.queue:
            return NoTaskYet() if self.pausing and not self.is_void else None
        task = self.queue.popleft()
        self.progress.started(task.key, task.config.epochs)
        return task

    def handle(self, event: Event) -> None:
        if event.key in self.by_key:
            self._handle(event)
        elif isinstance(event, Finished | Failed):  # of a trial that the search pruned last
            self._forget_snapshot(event.key)

    def _handle(self, event: Event) -> None:
        match event:
            case EpochEnd(key, point):
                curve = self.curves.setdefault(key, [])
                del curve[point.number - 1 :]  # a training whose worker died trains some epochs again
                curve.append(point)
                self.progress.epoch(key, point.number, point.macro_f1, event.images_per_second)
                if point.number == self.turns.get(key) and self.queue:
                    self.pausing.add(key)
                    self.stage.executor.stop(key, pause=True)
            case Resumed(key, earlier):
                self.curves[key] = list(earlier)
                self.progress.message(f"{key} resumes after epoch {earlier[-1].number}.")
            case Predicted():
                self.see(event)
            case Message(key, text):
                self.progress.message(f"{key}: {text}")
            case Finished(key) if not self.is_void and self._has_paused(key):
                self.queue.append(self.by_key[key])
                self.progress.ended(key, "paused", self._value(key), "another training has its turn", {})
            case Finished(key, seconds) if not self.is_void:
                note_curve(self.stage.study, self.name, key, self.curves[key])
                self.keep(self.by_key[key], self._value(key), seconds)
                self._forget_snapshot(key)
                self.progress.ended(key, "complete", self._value(key), None, {})
            case Finished(key):
                self._forget_snapshot(key)
            case Failed(key, "diverged", reason):
                self.pausing.discard(key)
                self.drop(self.by_key[key], reason)
                self._forget_snapshot(key)
                self.progress.ended(key, "failed", self._value(key), reason, {})
                if self.all_or_none:
                    self._stop()
            case Failed(key, reason=reason):
                raise SearchError(
                    f"The training of {key} failed: {reason}. Completed trainings are kept; run again to resume."
                )

    def _has_paused(self, key: str) -> bool:
        is_asked = key in self.pausing
        self.pausing.discard(key)
        return is_asked and self.curves[key][-1].number < self.by_key[key].config.epochs

    def _value(self, key: str) -> float | None:
        curve = self.curves.get(key)
        return curve[-1].macro_f1 if curve else None

    def _stop(self) -> None:
        self.is_void = True
        for key in self.stage.executor.running():
            self.stage.executor.stop(key)

    def _forget_snapshot(self, key: str) -> None:
        self.stage.study.snapshot(key).unlink(missing_ok=True)
