"""Fixed trainings for the stages after the search: every task is trained once, and none of them may fail."""

from collections.abc import Callable, Sequence

import optuna

from search.errors import SearchError
from search.executors import EpochEnd, Event, Executor, Failed, Finished, Noted, Resumed, Task, drain, drive
from search.interrupt import Interrupt, InterruptedRunError
from search.progress import Progress
from search.storage.patient import is_lost, require_storage
from search.study import timed

Keep = Callable[[Task, float | None, float], None]


def train_all(
    study: optuna.Study, stage: str, tasks: Sequence[Task], executor: Executor, progress: Progress, interrupt: Interrupt, keep: Keep
) -> None:
    """Each task was trained and `keep` was told its last validation macro F1, if it has one, and its seconds; the stage was timed.

    Raises: SearchError where a training fails. InterruptedRunError or StorageLostError, with what was done kept.
    """
    by_key = {task.key: task for task in tasks}
    values: dict[str, float | None] = {}
    queue = iter(tasks)

    def start() -> Task | None:
        if (task := next(queue, None)) is not None:
            progress.started(task.key, task.config.epochs)
        return task

    def handle(event: Event) -> None:
        if event.key not in by_key:
            return  # what a worker still says of a trial that the search pruned as its last
        match event:
            case EpochEnd(key, number, macro_f1=macro_f1):
                values[key] = macro_f1
                progress.epoch(key, number, macro_f1, event.images_per_second)
            case Resumed(key, epochs):
                values[key] = epochs[-1].macro_f1
                progress.message(f"{key} goes on after epoch {epochs[-1].number}.")
            case Noted(key, text):
                progress.message(f"{key}: {text}")
            case Finished(key, seconds):
                keep(by_key[key], values[key], seconds)
                if snapshot := by_key[key].snapshot:
                    snapshot.unlink(missing_ok=True)
                progress.ended(key, "complete", values[key], None, {})
            case Failed(key, reason=reason):
                raise SearchError(f"The training of {key} failed: {reason}. What was done before is kept; run again to go on.")

    with timed(study, stage) as note_time:

        def stopped() -> bool:  # asked several times a second, whether anything arrives or not
            note_time()
            return interrupt.requested or is_lost(study)

        drive(executor, start, handle, stopped)
        if is_lost(study):
            drain(executor, handle)
            require_storage(study)
    if interrupt.requested:
        raise InterruptedRunError
    progress.end()
