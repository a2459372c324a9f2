"""The search loop: it asks for trials, submits them, reports their epochs, prunes, and tells their end."""

import math
import time
from typing import Final

from optuna import Trial
from optuna.trial import TrialState

from fmnist.curve import CurvePoint
from search.executors import (
    EpochEnd,
    Event,
    Failed,
    Finished,
    Measured,
    Message,
    NoTaskYet,
    Predicted,
    Resumed,
    Task,
)
from search.job.active import Active
from search.job.choosing import AskOptuna, Chooser, UntilTarget
from search.job.deadline import Deadline
from search.job.failures import Failures
from search.job.freezing import Freezing
from search.job.objective import UnusableTrialError, note_start, report, suggest
from search.job.progress.tally import Best, EndState
from search.job.stage import Stage
from search.report.validation import keep_predictions
from search.storage.optuna_private import trial_id, wait_again
from search.storage.sharing import NoRoomError, TakenOverError
from search.storage.trial_record import note_end, note_foreign, note_pause, note_refused
from search.study.coordinators import share_of, take_back
from search.study.costs import cost_function
from search.study.limits import constrain, constraints_of, over, violations
from search.study.study import Study
from search.study.timing import NOTE_SECONDS
from search.study.trials import complete_trials, finished_trials, under_way, value_of

RETRY_SECONDS = 1.0  # until the budget is asked again for what other runs may have left of it
TIME_IS_UP = "the study's time is up"
STATE_WORDS: Final[dict[TrialState, EndState]] = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
}


def best_of(study: Study) -> Best | None:
    """Return the best complete trial as the screen shows it."""
    return next(
        (
            Best(f"trial {trial.number}", value, trial.params)
            for trial in complete_trials(study)
            if (value := value_of(trial)) is not None
        ),
        None,
    )


class SearchLoop:
    """The trials of one run, from ask to tell."""

    def __init__(self, stage: Stage, classes: int) -> None:
        self.study, self.spec, self.executor, self.progress = stage.study, stage.spec, stage.executor, stage.progress
        self.classes = classes
        self.costs_of = cost_function(self.study, self.spec, classes)
        self.deadline = Deadline(self.study, self.spec)
        self.active: dict[str, Active] = {}  # submitted and not told
        self.failures = Failures()
        self.is_freezing = self.spec.search.pruner == "freeze-thaw"
        chooser: Chooser = (
            Freezing(self.study, self.spec, classes, self.progress.message)
            if self.is_freezing
            else AskOptuna(self.study, self.spec)
        )
        target = self.spec.budget.target
        self.chooser = chooser if target is None else UntilTarget(chooser, self.study, target)
        self.is_shared = share_of(self.study) is not None
        # Trials that are fewer than the workers divide the cores. A latency is measured on a worker's usual threads.
        is_timed = self.spec.limits.max_latency_ms is not None
        self.threads = None if is_timed else self.executor.threads_of_each(self.spec.trials)[0]
        self.done_before, self.done_here = len(finished_trials(self.study)), 0
        self.looked_around = self.asked_in_vain = -math.inf  # when

    @property
    def given_up(self) -> str | None:
        """Why the search cannot go on, if so."""
        return self.failures.given_up

    @property
    def is_over(self) -> bool:
        """Whether no trial may begin and none is running, or the loop has given up."""
        return self.given_up is not None or (self.deadline.is_over and not self.active and not self._has_more_to_come())

    def look_around(self, *, at_once: bool = False) -> None:
        """Every few seconds, show what other runs have done, and put back what dead runs left running."""
        if not self.is_shared or (time.monotonic() - self.looked_around < NOTE_SECONDS and not at_once):
            return
        self.looked_around = time.monotonic()
        take_back(self.study)
        self.progress.elsewhere(
            len(finished_trials(self.study)) - self.done_before - self.done_here, best_of(self.study)
        )

    def next_task(self) -> Task | NoTaskYet | None:
        """Return the next trial to train; None when the search is over."""
        if time.monotonic() - self.asked_in_vain < RETRY_SECONDS:
            return NoTaskYet()
        while not (self.given_up or self.deadline.is_over or (self.deadline.is_overtime and self.active)):
            try:
                trial = self.chooser.next_trial(self.active, self.deadline.seconds_left)
                if trial is None:
                    break
                if task := self._begin(trial):
                    return task
            except NoRoomError:
                break  # the trials that others have running use the budget up, unless they are refused or put back
            except TakenOverError as error:  # this run stood still while it proposed
                for key in [key for key, active in self.active.items() if trial_id(active.trial) == error.trial_id]:
                    self._lose(key)
        may_follow = self._has_more_to_come() or self._may_be_refused() or self._may_pause()
        if self.given_up or not (may_follow or (self.deadline.is_overtime and self.active)):
            return None
        self.asked_in_vain = time.monotonic()
        return NoTaskYet()

    def handle(self, event: Event) -> None:
        """Act on what a worker reports."""
        if event.key not in self.active:  # of a trial that was pruned
            if isinstance(event, Finished | Failed):
                self.study.snapshot(event.key).unlink(missing_ok=True)
            return
        try:
            self._handle(event, self.active[event.key])
        except TakenOverError:
            self._lose(event.key)

    def _begin(self, trial: Trial) -> Task | None:
        """Return the task of the trial; None if it is over a limit or outside the space, so that it is not trained.

        Raises: NoRoomError, TakenOverError.
        """
        key = f"trial {trial.number}"
        if key in self.executor.running():  # this run lost it, and got it back before its training has stopped
            wait_again(self.study.optuna, trial)
            raise NoRoomError
        try:
            config = suggest(trial, self.spec.space)
        except UnusableTrialError as error:
            self._set_aside(trial, str(error))
            return None
        seed = note_start(trial, config, self.spec.seed, self.classes)
        deployed = self.spec.final.deployed(config)  # limits concern the network that the study is for
        self.active[key] = Active(trial, config, constraints_of(self.spec.limits, deployed, self.classes))
        self.progress.started(key, config.epochs)
        if reason := violations(self.active[key].constraints, self.spec.limits):
            self._refuse(key, reason)
            return None
        if self.spec.limits.max_latency_ms is None:  # otherwise its worker has yet to measure it
            self.failures.none_refused()
        return Task(
            key,
            config,
            seed,
            images="search",
            snapshot=self.study.snapshot(key),
            max_latency_ms=self.spec.limits.max_latency_ms,
            deployed=deployed if self.spec.limits.max_latency_ms else None,
            threads=self.threads,
        )

    def _set_aside(self, trial: Trial, reason: str) -> None:
        self.progress.message(
            f"trial {trial.number}, which another program enqueued, is not of the study's space and failed: {reason}."
        )
        note_foreign(trial, reason)
        self.study.optuna.tell(trial, state=TrialState.FAIL)

    def _lose(self, key: str) -> None:
        self.active.pop(key, None)
        if key in self.executor.running():
            self.executor.stop(key)
        self.progress.ended(
            key, "put back", None, "this run was not seen for a while, and another one took it over", {}
        )

    def _handle(self, event: Event, active: Active) -> None:
        match event:
            case EpochEnd():
                self.progress.epoch(event.key, event.point.number, event.point.macro_f1, event.images_per_second)
                self._epoch(event.key, event.point, active)
            case Resumed(curve=curve):
                self.progress.message(f"{event.key} resumes after epoch {curve[-1].number}.")
                for point in curve:
                    if event.key in self.active:  # the last verdict on it may have been lost with the run that gave it
                        self._epoch(event.key, point, active)
            case Measured():
                active.constraints |= over(event.latency_ms, self.spec.limits)
                if not violations(active.constraints, self.spec.limits):
                    self.failures.none_refused()
            case Predicted():
                active.predicted = event
            case Message():
                self.progress.message(f"{event.key}: {event.text}")
            case Finished():
                self.failures.none_failed()
                self._finish(event.key, active)
            case Failed():
                self._fail(event, active)

    def _epoch(self, key: str, point: CurvePoint, active: Active) -> None:
        assert point.macro_f1 is not None
        del active.curve[point.number - 1 :]  # a trial whose worker died trains some epochs again
        active.curve.append(point)
        is_new = report(active.trial, point.number, point.macro_f1)
        if point.number == active.config.epochs or active.pausing:
            return
        is_judged = is_new and not self.deadline.is_overtime
        match self.chooser.verdict(self.active, key, self.deadline.seconds_left) if is_judged else None:
            case "prune", reason:
                self._prune(key, reason)
            case "pause", reason if not self.deadline.is_over:
                active.pausing = reason
                self.executor.stop(key, pause=True)
            case _ if self.deadline.is_over:
                self._prune(key, TIME_IS_UP)

    def _finish(self, key: str, active: Active) -> None:
        if active.pausing is None or active.curve[-1].number == active.config.epochs:
            self._tell(key, TrialState.COMPLETE, None)
            return
        del self.active[key]
        why = f"paused after epoch {active.curve[-1].number}: {active.pausing}"  # one later than decided, if slowly
        note_pause(active.trial, active.curve, why)
        wait_again(self.study.optuna, active.trial)
        self.asked_in_vain = -math.inf  # it may continue
        self.progress.ended(key, "paused", active.curve[-1].macro_f1, active.pausing, {})

    def _prune(self, key: str, reason: str) -> None:
        self.failures.none_failed()
        self.executor.stop(key)
        self._tell(key, TrialState.PRUNED, reason)

    def _refuse(self, key: str, reason: str) -> None:
        note_refused(self.active[key].trial)
        self._tell(key, TrialState.PRUNED, reason, word="refused")
        self.asked_in_vain = -math.inf  # its place in the budget is free
        self.failures.refused(reason)

    def _fail(self, event: Failed, active: Active) -> None:
        if event.kind == "latency":  # which was measured, and stands among the constraints
            self._refuse(event.key, event.reason)
            return
        if event.kind == "error":
            # Not a fault of the configuration: the sampler learns nothing from it.
            self._tell(event.key, TrialState.FAIL, event.reason)
        else:
            active.constraints[event.kind] = 1.0
            self._tell(event.key, TrialState.PRUNED, event.reason)
        self.failures.failed(event)

    def _tell(self, key: str, state: TrialState, reason: str | None, *, word: EndState | None = None) -> None:
        active = self.active.pop(key)
        last = active.curve[-1].macro_f1 if active.curve else None
        note_end(active.trial, active.curve, reason)
        constrain(active.trial, active.constraints)
        values = [last, *self.costs_of(active.config)] if state == TrialState.COMPLETE and last is not None else None
        self.study.optuna.tell(active.trial, values, state=state)
        self.done_here += word != "refused"
        self.study.snapshot(key).unlink(missing_ok=True)
        if (
            state == TrialState.COMPLETE
            and active.predicted
            and (fault := keep_predictions(self.study, active.trial.number, active.predicted))
        ):
            self.progress.message(fault)
        self.progress.ended(key, word or STATE_WORDS[state], last, reason, active.trial.params)

    def _may_be_refused(self) -> bool:
        """Whether a trial that was submitted may yet prove too slow, and leave its place in the budget to another
        one.
        """
        if self.spec.limits.max_latency_ms is None or self.deadline.is_over:
            return False
        return any(active.constraints.get("max_latency_ms", 1.0) > 0 for active in self.active.values())

    def _may_pause(self) -> bool:
        """Whether a running trial may yet pause, so that there is something to train again."""
        return self.is_freezing and bool(self.active) and not self.deadline.is_over

    def _has_more_to_come(self) -> bool:
        """Whether trials of other runs are under way, which may yet come here; or were put back by them."""
        states = self.chooser.unfinished_elsewhere(is_late=self.deadline.is_over)
        numbers = under_way(self.study, states) if self.is_shared else []
        return any(f"trial {number}" not in self.active for number in numbers)
