"""Fixed trainings of the stages after the search: every task is trained once."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from search.errors import SearchError
from search.executors import EpochEnd, Event, Failed, Finished, Message, Predicted, Resumed, Task, drive
from search.job.interrupt import InterruptedRunError
from search.job.stage import Stage
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
    places: Sequence[str] = (),
) -> None:
    """Train each task, and time the stage.

    Args:
        keep: Called for a completed task with its last validation macro F1, if it has one, and its seconds.
        drop: Called for a diverged task with the reason; retrying would not help.
        see: Called with a task's predictions on the validation images, before `keep`.
        all_or_none: Stop all tasks when one diverges.
        places: The keys of all tasks of the stage, done ones included: the last of them share the cores that would be
            idle. A task has the same place, and so the same threads, when it is resumed.

    Raises: SearchError if a training fails in another way. InterruptedRunError or StorageLostError; completed tasks are
    kept.
    """
    threads = dict(zip(places, stage.executor.threads_of_each(len(places)), strict=True))
    tasks = [replace(task, threads=threads.get(task.key)) for task in tasks]
    trainings = _Trainings(stage, tasks, keep, drop, see, all_or_none)
    study, executor = stage.study, stage.executor
    with timed(study, name) as note_time:

        def stopped() -> bool:  # called several times a second, with or without events
            note_time()
            return stage.interrupt.requested

        drive(executor, trainings.start, trainings.handle, stopped)
    if stage.interrupt.requested:
        raise InterruptedRunError
    stage.progress.end()


@dataclass
class _Trainings:
    stage: Stage
    tasks: Sequence[Task]
    keep: Keep
    drop: Drop
    see: See
    all_or_none: bool
    values: dict[str, float | None] = field(default_factory=dict)
    is_void: bool = False

    def __post_init__(self) -> None:
        self.by_key = {task.key: task for task in self.tasks}
        self.queue = iter(self.tasks)
        self.progress = self.stage.progress

    def start(self) -> Task | None:
        task = None if self.is_void else next(self.queue, None)
        if task is not None:
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
                self.values[key] = point.macro_f1
                self.progress.epoch(key, point.number, point.macro_f1, event.images_per_second)
            case Resumed(key, curve):
                self.values[key] = curve[-1].macro_f1
                self.progress.message(f"{key} resumes after epoch {curve[-1].number}.")
            case Predicted():
                self.see(event)
            case Message(key, text):
                self.progress.message(f"{key}: {text}")
            case Finished(key, seconds) if not self.is_void:
                self.keep(self.by_key[key], self.values[key], seconds)
                self._forget_snapshot(key)
                self.progress.ended(key, "complete", self.values[key], None, {})
            case Finished(key):
                self._forget_snapshot(key)
            case Failed(key, "diverged", reason):
                self.drop(self.by_key[key], reason)
                self._forget_snapshot(key)
                self.progress.ended(key, "failed", self.values.get(key), reason, {})
                if self.all_or_none:
                    self._stop()
            case Failed(key, reason=reason):
                raise SearchError(
                    f"The training of {key} failed: {reason}. Completed trainings are kept; run again to resume."
                )

    def _stop(self) -> None:
        self.is_void = True
        for key in self.stage.executor.running():
            self.stage.executor.stop(key)

    def _forget_snapshot(self, key: str) -> None:
        self.stage.study.snapshot(key).unlink(missing_ok=True)
