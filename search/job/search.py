"""The search loop: ask, submit, report, prune, tell. The coordinator runs it, and nothing else writes trials to the
storage.
"""

import math
import sys
import time
from collections import Counter
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from typing import Final

from optuna import Trial
from optuna.trial import TrialState

from fmnist.config import TrialConfig
from search.errors import SearchError, StorageLostError
from search.executors import (
    EpochEnd,
    Event,
    Executor,
    Failed,
    Finished,
    Later,
    Measured,
    Noted,
    Predicted,
    Resumed,
    Task,
    drain,
    drive,
)
from search.job.budget import seconds_left, spent
from search.job.interrupt import Interrupt, InterruptedRunError
from search.job.objective import UnusableTrialError, note_start, report, suggest
from search.job.progress.display import Progress
from search.job.progress.tally import Best, EndState
from search.report.validation import keep_predictions
from search.storage.foreign import CONFIG, FOREIGN
from search.storage.sharing import OWNER, NoRoomError, TakenOverError
from search.study.coordinators import share_of, take_back
from search.study.limits import constrain, constraints_of, over, violations
from search.study.spec import StudySpec
from search.study.study import Study
from search.study.timing import NOTE_SECONDS, timed
from search.study.trials import REFUSED, complete_trials, finished_trials, foreign_trials

LATER_SECONDS = 1.0  # until the budget is asked again for what other runs may have left of it
MOST_FAILURES = 10  # in a row
MOST_REFUSED = 100  # in a row; they cost next to nothing
TIME_IS_UP = "the study's time is up"
BUDGET_IS_USED_UP = "the study's budget of trials is used up"
STATE_WORDS: Final[dict[TrialState, EndState]] = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
}


def optimize(
    study: Study, spec: StudySpec, executor: Executor, progress: Progress, interrupt: Interrupt, classes: int
) -> None:
    """The study has its budget of finished trials, over all runs together, or has used up its minutes.

    Raises: InterruptedRunError, StorageLostError, or SearchError where one trial after the other fails; the running
    trials were put back for the next run.
    """
    put_back(study)
    progress.begin("search", total=spec.budget, done=len(finished_trials(study)), best=_best(study))
    if foreign := ", ".join(str(trial.number) for trial in foreign_trials(study)):
        progress.message(f"Trials that another program added, without a configuration, count nowhere: {foreign}.")
    with timed(study, "search") as note_time:
        # Made within the block: its deadline must not come before the block's time is used up.
        loop = _Loop(study, spec, executor, progress, classes)

        def stopped() -> bool:  # asked several times a second, whether anything arrives or not
            note_time()
            loop.look_around()
            return interrupt.requested or study.is_lost or loop.is_over

        with suppress(StorageLostError):  # of an ask; what has arrived is handled first
            drive(executor, loop.next_task, loop.handle, stopped)
        if study.is_lost:
            drain(executor, loop.handle)
        else:
            loop.look_around(at_once=True)
    if interrupt.requested or study.is_lost or loop.given_up:
        for key in loop.active:
            progress.ended(key, "put back", None, None, {})
        put_back(study)
        study.require_storage()
        raise SearchError(loop.given_up) if loop.given_up else InterruptedRunError
    _end_waiting(study, TIME_IS_UP if seconds_left(study, spec) <= 0 else BUDGET_IS_USED_UP)
    progress.end()


def put_back(study: Study) -> None:
    """Trials that this run, or a dead or interrupted one, left running wait: the next ask takes them first, with their
    configuration.
    """
    share = share_of(study)
    for trial in study.trials((TrialState.RUNNING,)):
        if share is None or trial.system_attrs.get(OWNER) == share.owner:
            with suppress(TakenOverError):
                study.optuna._storage.set_trial_state_values(trial._trial_id, TrialState.WAITING)
    if share:
        take_back(study)


def _best(study: Study) -> Best | None:
    return next(
        (
            Best(f"trial {trial.number}", trial.value, trial.params)
            for trial in complete_trials(study)
            if trial.value is not None
        ),
        None,
    )


@dataclass
class _Active:
    trial: Trial
    config: TrialConfig
    constraints: dict[str, float]  # name -> above 0 where the network is over its limit
    curve: list[dict[str, float | int | None]] = field(default_factory=list)
    predicted: Predicted | None = None


class _Loop:
    def __init__(self, study: Study, spec: StudySpec, executor: Executor, progress: Progress, classes: int) -> None:
        self.study, self.spec, self.executor, self.progress, self.classes = study, spec, executor, progress, classes
        self.budget = spec.budget
        self.deadline = time.monotonic() + seconds_left(study, spec)
        self.active: dict[str, _Active] = {}  # submitted and not told
        self.failures: list[str] = []  # why the last trials failed, since one that did not
        self.refused = 0  # trials in a row, for their limits
        self.given_up: str | None = None
        self.is_shared = share_of(study) is not None
        self.done_before, self.done_here = len(finished_trials(study)), 0
        self.looked_around = self.asked_in_vain = -math.inf  # when

    @property
    def is_over(self) -> bool:
        """Whether nothing may begin any more and nothing is left to end; or, after one failure upon the other, nothing
        should.
        """
        return self.given_up is not None or (self._is_late() and not self.active and not self._has_more_to_come())

    def look_around(self, *, at_once: bool = False) -> None:
        """Now and then, what other runs have done is on the screen, and what dead ones left running waits for whoever
        asks next.
        """
        if not self.is_shared or (time.monotonic() - self.looked_around < NOTE_SECONDS and not at_once):
            return
        self.looked_around = time.monotonic()
        take_back(self.study)
        self.progress.elsewhere(len(finished_trials(self.study)) - self.done_before - self.done_here, _best(self.study))

    def next_task(self) -> Task | Later | None:
        if time.monotonic() - self.asked_in_vain < LATER_SECONDS:
            return Later()
        while (
            not self.given_up and not self._is_late() and spent(self.study, self.spec) + len(self.active) < self.budget
        ):
            try:
                if task := self._begin():
                    return task
            except NoRoomError:
                break  # the trials that others have running use the budget up, unless they are refused or put back
            except TakenOverError as error:  # this run stood still while it proposed
                for key in [key for key, active in self.active.items() if active.trial._trial_id == error.trial_id]:
                    self._lose(key)
        if self.given_up or not (self._has_more_to_come() or self._may_be_refused()):
            return None
        self.asked_in_vain = time.monotonic()
        return Later()

    def handle(self, event: Event) -> None:
        if event.key not in self.active:  # what a worker still says of a trial that was pruned
            if isinstance(event, Finished | Failed):
                self.study.snapshot(event.key).unlink(missing_ok=True)
            return
        try:
            self._handle(event, self.active[event.key])
        except TakenOverError:
            self._lose(event.key)

    def _begin(self) -> Task | None:
        """The next trial; None where it is not trained: over a limit, or not of the space. Raises: NoRoomError,
        TakenOverError.
        """
        trial = self.study.optuna.ask()
        key = f"trial {trial.number}"
        if (
            key in self.executor.running()
        ):  # this run lost it, and has it again before the training it began with has stopped
            self.study.optuna._storage.set_trial_state_values(trial._trial_id, TrialState.WAITING)
            raise NoRoomError
        try:
            config = suggest(trial, self.spec.space)
        except UnusableTrialError as error:
            self._set_aside(trial, str(error))
            return None
        seed = note_start(trial, config, self.spec.seed, self.classes)
        self.active[key] = _Active(trial, config, constraints_of(self.spec.limits, config, self.classes))
        self.progress.started(key, config.epochs)
        if reason := violations(self.active[key].constraints, self.spec.limits):
            self._refuse(key, reason)
            return None
        if self.spec.limits.max_latency_ms is None:  # otherwise its worker has yet to measure it
            self.refused = 0
        snapshot = self.study.snapshot(key)
        return Task(
            key, config, seed, images="search", snapshot=snapshot, max_latency_ms=self.spec.limits.max_latency_ms
        )

    def _set_aside(self, trial: Trial, reason: str) -> None:
        self.progress.message(
            f"trial {trial.number}, which another program enqueued, is not of the study's space and failed: {reason}."
        )
        for key, value in {"reason": reason, FOREIGN: True}.items():
            trial.set_user_attr(key, value)
        self.study.optuna.tell(trial, state=TrialState.FAIL)

    def _lose(self, key: str) -> None:
        self.active.pop(key, None)
        if key in self.executor.running():
            self.executor.stop(key)
        self.progress.ended(
            key, "put back", None, "this run was not seen for a while, and another one took it over", {}
        )

    def _handle(self, event: Event, active: _Active) -> None:
        match event:
            case EpochEnd():
                self.progress.epoch(event.key, event.number, event.macro_f1, event.images_per_second)
                self._epoch(event, active)
            case Resumed(epochs=epochs):
                self.progress.message(f"{event.key} goes on after epoch {epochs[-1].number}.")
                for epoch in epochs:
                    if event.key in self.active:  # the last verdict on it may have been lost with the run that gave it
                        self._epoch(epoch, active)
            case Measured():
                active.constraints |= over(event.latency_ms, self.spec.limits)
                if not violations(active.constraints, self.spec.limits):
                    self.refused = 0
            case Predicted():
                active.predicted = event
            case Noted():
                self.progress.message(f"{event.key}: {event.text}")
            case Finished():
                self.failures.clear()
                self._tell(event.key, TrialState.COMPLETE, None)
            case Failed():
                self._fail(event, active)

    def _epoch(self, event: EpochEnd, active: _Active) -> None:
        assert event.macro_f1 is not None
        del active.curve[event.number - 1 :]  # a trial whose worker died trains some epochs again
        active.curve.append(
            {key: value for key, value in asdict(event).items() if key not in ("key", "images_per_second")}
        )
        if report(active.trial, active.config, event.number, event.macro_f1):
            self._prune(event.key, f"{self.spec.search.pruner} after epoch {event.number}")
        elif self._is_late() and event.number < active.config.epochs:
            self._prune(event.key, TIME_IS_UP)

    def _prune(self, key: str, reason: str) -> None:
        self.failures.clear()
        self.executor.stop(key)
        self._tell(key, TrialState.PRUNED, reason)

    def _refuse(self, key: str, reason: str) -> None:
        self.active[key].trial.set_user_attr(REFUSED, True)
        self._tell(key, TrialState.PRUNED, reason, word="refused")
        self.asked_in_vain = -math.inf  # its place in the budget is free
        self.refused += 1
        if self.refused == MOST_REFUSED:
            self.given_up = f"{MOST_REFUSED} proposed networks in a row were over a limit, the last one so: {reason}. "
            self.given_up += "Raise the limit, or narrow the knobs that make networks large."

    def _fail(self, event: Failed, active: _Active) -> None:
        if event.kind == "latency":  # which was measured, and stands among the constraints
            self._refuse(event.key, event.reason)
            return
        if event.kind == "error":
            self._tell(
                event.key, TrialState.FAIL, event.reason
            )  # a fault of no configuration: the sampler learns nothing from it
        else:
            active.constraints[event.kind] = 1.0
            self._tell(event.key, TrialState.PRUNED, event.reason)
        self.failures.append(event.reason)
        if len(self.failures) == MOST_FAILURES:
            causes = Counter(reason.partition(":")[0] for reason in self.failures)
            cause, count = causes.most_common(1)[0]
            self.given_up = (
                f"{MOST_FAILURES} trials in a row failed, {count} of them so: {cause}. The last one: {event.reason}. "
            )
            self.given_up += "Narrow the knobs, or mend the cause; the same command goes on."

    def _tell(self, key: str, state: TrialState, reason: str | None, *, word: EndState | None = None) -> None:
        active = self.active.pop(key)
        last = active.curve[-1]["macro_f1"] if active.curve else None
        active.trial.set_user_attr("curve", active.curve)
        active.trial.set_user_attr("seconds", active.curve[-1]["seconds"] if active.curve else None)
        if reason:
            active.trial.set_user_attr("reason", reason)
        constrain(active.trial, active.constraints)
        self.study.optuna.tell(active.trial, last if state == TrialState.COMPLETE else None, state=state)
        self.done_here += word != "refused"
        self.study.snapshot(key).unlink(missing_ok=True)
        if (
            state == TrialState.COMPLETE
            and active.predicted
            and (fault := keep_predictions(self.study, active.trial.number, active.predicted))
        ):
            self.progress.message(fault)
        self.progress.ended(key, word or STATE_WORDS[state], last, reason, active.trial.params)

    def _is_late(self) -> bool:
        return time.monotonic() > self.deadline

    def _may_be_refused(self) -> bool:
        """Whether a trial that was submitted may yet prove too slow, and leave its place in the budget to another
        one.
        """
        if self.spec.limits.max_latency_ms is None or self._is_late():
            return False
        return any(active.constraints.get("max_latency_ms", 1.0) > 0 for active in self.active.values())

    def _has_more_to_come(self) -> bool:
        """Whether trials of other runs are under way, which may yet come here; or were put back by them."""
        states = (TrialState.RUNNING,) if self._is_late() else (TrialState.RUNNING, TrialState.WAITING)
        trials = self.study.trials(states) if self.is_shared else []
        return any(f"trial {trial.number}" not in self.active for trial in trials)


def _end_waiting(study: Study, reason: str) -> None:
    # Trials that an earlier run put back and that have no more time, or no place in a budget made smaller, would wait
    # for ever.
    if study.is_stored and (share := study.storage.share):
        study.storage.share = replace(share, budget=sys.maxsize)
    while (trial_id := study.optuna._pop_waiting_trial_id()) is not None:
        trial = Trial(study.optuna, trial_id)
        trial.set_user_attr("reason", reason)
        if CONFIG not in trial.user_attrs:  # another program enqueued it, and it never began
            trial.set_user_attr(FOREIGN, True)
        study.optuna.tell(trial, state=TrialState.PRUNED)
