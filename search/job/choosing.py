"""What a free worker trains next, and when a trial ends or pauses before its last epoch."""

from collections.abc import Mapping
from typing import Literal, Protocol

from optuna import Trial
from optuna.trial import TrialState

from search.job.active import Active
from search.study.budget import spent
from search.study.spec import StudySpec
from search.study.study import Study
from search.study.trials import complete_trials, value_of

Verdict = tuple[Literal["prune", "pause"], str]  # what the loop does with a trial, and why


class Chooser(Protocol):
    """Chooses the trials of a search."""

    @property
    def end_reason(self) -> str:
        """Why it had nothing to train when it was asked last, if the budget is not the reason."""
        ...

    @property
    def ends_early(self) -> bool:
        """Whether the reason is that nothing more is to be gained."""
        ...

    def next_trial(self, active: Mapping[str, Active], seconds_left: float) -> Trial | None:
        """Return a trial that is now running; None if there is nothing to train at this time."""
        ...

    def verdict(self, active: Mapping[str, Active], key: str, seconds_left: float) -> Verdict | None:
        """Return why trial `key` ends or pauses after its last epoch so far; None if it continues."""
        ...

    def unfinished_elsewhere(self, *, is_late: bool) -> tuple[TrialState, ...]:
        """Return the states of other runs' trials that may yet come to this run."""
        ...


class AskOptuna:
    """Optuna's sampler proposes, its pruner ends trials."""

    end_reason, ends_early = "", False

    def __init__(self, study: Study, spec: StudySpec) -> None:
        self._study, self._spec = study, spec

    def next_trial(self, active: Mapping[str, Active], seconds_left: float) -> Trial | None:  # noqa: ARG002
        """Return a waiting trial, or else a new one if the budget allows it.

        Raises: NoRoomError, TakenOverError.
        """
        if spent(self._study, self._spec) + len(active) >= self._spec.trials:
            return None
        return self._study.optuna.ask()

    def verdict(self, active: Mapping[str, Active], key: str, seconds_left: float) -> Verdict | None:  # noqa: ARG002
        """Ask the pruner."""
        if not active[key].trial.should_prune():
            return None
        return "prune", f"{self._spec.search.pruner} after epoch {active[key].curve[-1].number}"

    def unfinished_elsewhere(self, *, is_late: bool) -> tuple[TrialState, ...]:
        """Running ones, which may be put back, and while there is time waiting ones."""
        return (TrialState.RUNNING,) if is_late else (TrialState.RUNNING, TrialState.WAITING)


class UntilTarget:
    """Another chooser, until a complete trial has the target of the study's budget."""

    def __init__(self, chooser: Chooser, study: Study, target: float) -> None:
        self._chooser, self._study, self._target = chooser, study, target
        self._reached = ""

    @property
    def end_reason(self) -> str:
        """Why no trial may begin."""
        return self._reached or self._chooser.end_reason

    @property
    def ends_early(self) -> bool:
        """Whether the search ends before its budget."""
        return bool(self._reached) or self._chooser.ends_early

    def next_trial(self, active: Mapping[str, Active], seconds_left: float) -> Trial | None:
        """Return what the other chooser does; None once a trial has reached the target."""
        best = next(iter(complete_trials(self._study)), None)
        is_reached = best is not None and (value_of(best) or 0.0) >= self._target
        self._reached = f"trial {best.number} has reached the target of {self._target}" if best and is_reached else ""
        return None if self._reached else self._chooser.next_trial(active, seconds_left)

    def verdict(self, active: Mapping[str, Active], key: str, seconds_left: float) -> Verdict | None:
        """Return that of the other chooser."""
        return self._chooser.verdict(active, key, seconds_left)

    def unfinished_elsewhere(self, *, is_late: bool) -> tuple[TrialState, ...]:
        """Return those of the other chooser."""
        return self._chooser.unfinished_elsewhere(is_late=is_late)
