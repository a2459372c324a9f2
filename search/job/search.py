"""The search stage: trials until the budget of trials or minutes is used up."""

import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

from optuna import Trial
from optuna.trial import TrialState

from search.errors import SearchError
from search.executors import Event, Finished, drive
from search.job.interrupt import InterruptedRunError
from search.job.loop import TIME_IS_UP, SearchLoop, best_of
from search.job.prior import enqueue_configs
from search.job.stage import Stage
from search.storage.optuna_private import begin_waiting, pop_waiting, stored, wait_again
from search.storage.sharing import OWNER, TakenOverError
from search.storage.trial_record import TrialRecord, note_foreign, note_reason
from search.study.budget import is_at_end, is_searched, seconds_left, spent
from search.study.coordinators import share_of, take_back
from search.study.records import SearchEnd
from search.study.study import Study
from search.study.timing import timed
from search.study.trials import finished_trials, foreign_trials

BUDGET_IS_USED_UP = "the study's budget of trials is used up"


def optimize(stage: Stage, classes: int, after_trial: Callable[[], None] = lambda: None) -> None:
    """The study has its budget of finished trials, over all runs together, or has used up its minutes.

    Calls `after_trial` whenever a training of this run has ended.
    Raises: InterruptedRunError, or SearchError if one trial after the other fails; the running trials were put back for
    the next run. StorageLostError; the next run puts them back.
    """
    study, progress = stage.study, stage.progress
    put_back(study)
    _end_outside(stage)
    enqueue_configs(study, stage.spec)
    progress.begin(
        "search",
        total=stage.spec.trials,
        done=len(finished_trials(study)),
        best=best_of(study),
        seconds=seconds_left(study, stage.spec),
    )
    if foreign := ", ".join(str(trial.number) for trial in foreign_trials(study)):
        progress.message(f"Another program added trials without a configuration, which do not count: {foreign}.")
    if is_searched(study, stage.spec):
        if is_at_end(study, stage.spec):
            progress.message("The search had ended already.")
        _end_waiting(stage, BUDGET_IS_USED_UP)
        progress.end()
        return
    with timed(study, "search", stage.clock) as note_time:
        # Made within the block: its deadline must not come before the block's time is used up.
        loop = SearchLoop(stage, classes)

        def stopped() -> bool:  # asked several times a second, whether anything arrives or not
            note_time()
            loop.look_around()
            return stage.interrupt.requested or loop.is_over

        drive(stage.executor, loop.next_task, _followed(loop.handle, after_trial), stopped)
        loop.look_around(at_once=True)
    if stage.interrupt.requested or loop.given_up:
        for key in loop.active:
            progress.ended(key, "put back", None, None, {})
        put_back(study)
        raise SearchError(loop.given_up) if loop.given_up else InterruptedRunError
    is_late = seconds_left(study, stage.spec) <= 0
    _end_waiting(stage, TIME_IS_UP if is_late else BUDGET_IS_USED_UP)
    if not is_late:
        _note_early_end(stage, loop.chooser.end_reason, is_early=loop.chooser.ends_early)
    progress.end()


def _note_early_end(stage: Stage, reason: str, *, is_early: bool) -> None:
    """Store why a search that has budget left ends; `is_early`: it has nothing more to gain."""
    spec, left = stage.spec, stage.spec.trials - spent(stage.study, stage.spec)
    if not reason or not (is_early or left > 0):
        return
    end = SearchEnd(
        reason=reason,
        trials=spec.trials,
        minutes=spec.search.minutes,
        target=spec.budget.target,
        unused=max(0, left) if is_early else None,
    )
    stage.study.write(end)
    stage.progress.message(f"The search ends: {reason}.")


def _followed(handle: Callable[[Event], None], after_trial: Callable[[], None]) -> Callable[[Event], None]:
    def both(event: Event) -> None:
        handle(event)
        if isinstance(event, Finished):
            after_trial()

    return both


def _end_outside(stage: Stage) -> None:
    # Trials that waited to go on when the space was changed, and are not in the new one.
    study = stage.study
    for waiting in study.trials((TrialState.WAITING,)):
        outside = TrialRecord(waiting).outside
        if outside and (trial := begin_waiting(study.optuna, waiting)):
            _end(stage, trial, f"outside the study's space: {outside}")


def put_back(study: Study) -> None:
    """Trials that this run, or a dead or interrupted one, left running wait: the next ask returns them first, with
    their configuration.
    """
    share = share_of(study)
    for trial in study.trials((TrialState.RUNNING,)):
        if share is None or trial.system_attrs.get(OWNER) == share.owner:
            with suppress(TakenOverError):
                wait_again(study.optuna, trial)
    if share:
        take_back(study)


def _end_waiting(stage: Stage, reason: str) -> None:
    # Trials that an earlier run put back, and for which there is no time or budget any more, would wait for ever.
    study = stage.study
    if study.is_stored and (share := study.storage.share):
        study.storage.share = replace(share, budget=sys.maxsize)
    while (trial := pop_waiting(study.optuna)) is not None:
        _end(stage, trial, TrialRecord(stored(trial)).pause or reason)


def _end(stage: Stage, trial: Trial, reason: str) -> None:
    study, record = stage.study, TrialRecord(stored(trial))
    if record.began:
        note_reason(trial, reason)
    else:  # another program enqueued it, and it never began
        note_foreign(trial, reason)
    study.optuna.tell(trial, state=TrialState.PRUNED)
    study.snapshot(f"trial {trial.number}").unlink(missing_ok=True)
    if record.began:
        last = record.curve[-1].macro_f1 if record.curve else None
        stage.progress.ended(f"trial {trial.number}", "pruned", last, reason, {})
