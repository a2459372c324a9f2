"""The search loop: ask, submit, report, prune, tell. The coordinator runs it, and nothing else writes trials to the storage."""

import time
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import Final, Literal

import optuna
from optuna import Trial
from optuna.trial import TrialState

from fmnist.config import TrialConfig
from search.errors import StorageLostError
from search.executors import EpochEnd, Event, Executor, Failed, Finished, Task, drain, drive
from search.interrupt import Interrupt, InterruptedRunError
from search.objective import note_start, report
from search.progress import Progress
from search.records import Timing
from search.spec import StudySpec
from search.storage import is_lost, require_storage
from search.study import complete_trials, finished_trials, read, timed
from search.tally import Best

TIME_IS_UP = "the study's time is up"
BUDGET_IS_USED_UP = "the study's budget of trials is used up"
STATE_WORDS: Final[dict[TrialState, Literal["complete", "pruned", "failed"]]] = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
}


def optimize(study: optuna.Study, spec: StudySpec, executor: Executor, progress: Progress, interrupt: Interrupt, classes: int) -> None:
    """The study has its budget of finished trials, over all runs together, or has used up its minutes.

    Raises: InterruptedRunError or StorageLostError, after the running trials were put back for the next run.
    """
    put_back(study)
    progress.begin("search", total=budget(spec), done=len(finished_trials(study)), best=_best(study))
    with timed(study, "search"):
        # Made within the block: its deadline must not come before the block's time is used up.
        loop = _Loop(study, spec, executor, progress, classes)
        with suppress(StorageLostError):  # of an ask; what has arrived is handled first
            drive(executor, loop.next_task, loop.handle, stopped=lambda: interrupt.requested or is_lost(study))
        if is_lost(study):
            drain(executor, loop.handle)
    if interrupt.requested or is_lost(study):
        for key in loop.active:
            progress.ended(key, "put back", None, None, {})
        put_back(study)
        require_storage(study)
        raise InterruptedRunError
    _end_waiting(study, TIME_IS_UP if _seconds_left(study, spec) <= 0 else BUDGET_IS_USED_UP)
    progress.end()


def is_searched(study: optuna.Study, spec: StudySpec) -> bool:
    """Whether the budget is used up, in trials or in minutes, and nothing is left running."""
    unfinished = study.get_trials(deepcopy=False, states=(TrialState.RUNNING, TrialState.WAITING))
    return not unfinished and (len(finished_trials(study)) >= budget(spec) or _seconds_left(study, spec) <= 0)


def budget(spec: StudySpec) -> int:
    """How many trials the study has in all: a grid ends when every point has been tried."""
    points = spec.space.points if spec.search.sampler == "grid" else float("inf")
    return int(min(spec.search.trials, points))


def put_back(study: optuna.Study) -> None:
    """Trials that a dead or interrupted run left running wait again: the next ask takes them first, with their configuration."""
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        study._storage.set_trial_state_values(trial._trial_id, TrialState.WAITING)


def _best(study: optuna.Study) -> Best | None:
    return next(
        (Best(f"trial {trial.number}", trial.value, trial.params) for trial in complete_trials(study) if trial.value is not None), None
    )


@dataclass
class _Active:
    trial: Trial
    config: TrialConfig
    curve: list[dict[str, float | int | None]] = field(default_factory=list)


class _Loop:
    def __init__(self, study: optuna.Study, spec: StudySpec, executor: Executor, progress: Progress, classes: int) -> None:
        self.study, self.spec, self.executor, self.progress, self.classes = study, spec, executor, progress, classes
        self.budget = budget(spec)
        self.deadline = time.monotonic() + _seconds_left(study, spec)
        self.active: dict[str, _Active] = {}  # submitted and not told

    def next_task(self) -> Task | None:
        if self._is_late() or len(finished_trials(self.study)) + len(self.active) >= self.budget:
            return None
        trial = self.study.ask()
        config = self.spec.space.suggest(trial)
        seed = note_start(trial, config, self.spec.seed, self.classes)
        key = f"trial {trial.number}"
        self.active[key] = _Active(trial, config)
        self.progress.started(key, config.epochs)
        return Task(key, config, seed, images="search")

    def handle(self, event: Event) -> None:
        if event.key not in self.active:
            return  # what a worker still says of a trial that was pruned
        match event:
            case EpochEnd():
                self._epoch(event, self.active[event.key])
            case Finished():
                self._tell(event.key, TrialState.COMPLETE, None)
            case Failed(kind="diverged"):
                self._tell(event.key, TrialState.PRUNED, event.reason)
            case Failed():
                self._tell(event.key, TrialState.FAIL, event.reason)

    def _epoch(self, event: EpochEnd, active: _Active) -> None:
        assert event.macro_f1 is not None
        del active.curve[event.number - 1 :]  # a trial whose worker died trains its first epochs again
        active.curve.append({key: value for key, value in asdict(event).items() if key not in ("key", "images_per_second")})
        self.progress.epoch(event.key, event.number, event.macro_f1, event.images_per_second)
        if report(active.trial, active.config, event.number, event.macro_f1):
            self._prune(event.key, f"{self.spec.search.pruner} after epoch {event.number}")
        elif self._is_late() and event.number < active.config.epochs:
            self._prune(event.key, TIME_IS_UP)

    def _prune(self, key: str, reason: str) -> None:
        self.executor.stop(key)
        self._tell(key, TrialState.PRUNED, reason)

    def _tell(self, key: str, state: TrialState, reason: str | None) -> None:
        active = self.active.pop(key)
        last = active.curve[-1]["macro_f1"] if active.curve else None
        active.trial.set_user_attr("curve", active.curve)
        active.trial.set_user_attr("seconds", active.curve[-1]["seconds"] if active.curve else None)
        if reason:
            active.trial.set_user_attr("reason", reason)
        self.study.tell(active.trial, last if state == TrialState.COMPLETE else None, state=state)
        self.progress.ended(key, STATE_WORDS[state], last, reason, active.trial.params)

    def _is_late(self) -> bool:
        return time.monotonic() > self.deadline


def _end_waiting(study: optuna.Study, reason: str) -> None:
    # Trials that an earlier run put back and that have no more time, or no place in a budget made smaller, would wait for ever.
    while study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
        trial = study.ask()
        trial.set_user_attr("reason", reason)
        study.tell(trial, state=TrialState.PRUNED)


def _seconds_left(study: optuna.Study, spec: StudySpec) -> float:
    if spec.search.minutes is None:
        return float("inf")
    return spec.search.minutes * 60 - (read(study, "timing", Timing) or Timing()).search
