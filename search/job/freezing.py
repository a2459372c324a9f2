"""Freeze-thaw in the search loop: trials pause with a snapshot, and continue when they promise most.

A paused trial is WAITING in the storage, like one that an interrupted run put back, so that nothing else is to be kept.
"""

import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from optuna import Trial
from optuna.trial import FrozenTrial, TrialState

from fmnist.config import TrialConfig
from fmnist.network import describe
from search.errors import SearchError
from search.job.active import Active
from search.job.choosing import Verdict
from search.job.prior import take_prior
from search.samplers.cube import Cube
from search.samplers.freeze_thaw import PATIENCE, End, FreezeThaw, Pause, Seen, State
from search.samplers.proposals import ProposalSampler
from search.storage.optuna_private import begin_new, begin_waiting, enqueued_values, stored
from search.storage.trial_record import TrialRecord
from search.study.budget import needs_a_result
from search.study.costs import cost_function, with_floor
from search.study.limits import constraints_of, over, violations
from search.study.spec import StudySpec
from search.study.study import Study
from search.terminal.wording import amount, f1

SHARE = 0.25  # of the time at most that verdicts take
ENDED: Mapping[TrialState, State] = {TrialState.COMPLETE: "complete", TrialState.PRUNED: "ended"}


class Freezing:
    """The trials of one run, chosen by freeze-thaw."""

    def __init__(self, study: Study, spec: StudySpec, classes: int, announce: Callable[[str], None]) -> None:
        sampler = study.optuna.sampler
        assert isinstance(sampler, ProposalSampler), "the spec makes the sampler"
        self._study, self._spec, self._classes, self._sampler = study, spec, classes, sampler
        self._costs_of, self._space = cost_function(study, spec, classes), spec.space  # which is read at each access
        self._pace = Pace()
        self._freeze_thaw = FreezeThaw(
            Cube(self._space.distributions()),
            spec.epochs,
            seed=sampler.seed,
            is_allowed=self._is_allowed,
            seconds_of=lambda knobs: self._pace.seconds(self._flops(knobs)),
            patience=spec.search.patience or PATIENCE,
            least=min(spec.confirm.top, spec.trials),
            prior=take_prior(study, spec, announce),
            costs_of=self._costs if spec.search.against else None,
        )
        if spec.search.floor and self._freeze_thaw.is_flat:
            raise SearchError(
                "[search] floor must be below what some networks of the space cost, got "
                f"{', '.join(map(amount, spec.search.floor))}: none costs more. Lower it, or leave it out."
            )
        self._next_verdict = 0.0  # when
        self.end_reason, self.ends_early = "", False

    def next_trial(self, active: Mapping[str, Active], seconds_left: float) -> Trial | None:
        """Return an enqueued trial, else a paused or new one; None if nothing can be completed in the time left.

        Raises: NoRoomError, TakenOverError.
        """
        trials = self._study.trials()
        new = self._new(trials)
        for trial in trials if new else ():
            is_enqueued = trial.state == TrialState.WAITING and not TrialRecord(trial).began  # by another program
            if is_enqueued and (begun := begin_waiting(self._study.optuna, trial)):
                return begun
        step = self._freeze_thaw.next_step(self._seen(trials, active), new=new, seconds_left=self._known(seconds_left))
        if isinstance(step, End):
            self.end_reason, self.ends_early = _reason(step), step.promised is not None
            return None
        self.end_reason, self.ends_early = "", False
        if step.number is not None:
            return begin_waiting(self._study.optuna, trials[step.number])
        self._sampler.proposal = step.knobs or {}
        return begin_new(self._study.optuna)

    def verdict(self, active: Mapping[str, Active], key: str, seconds_left: float) -> Verdict | None:
        """Return why the trial pauses, if another step promises more.

        One that a study or a person names is trained to its end: so a search does not miss what is known to be good.
        """
        if enqueued_values(stored(active[key].trial)) is not None:
            return None
        if time.monotonic() < self._next_verdict:
            return None  # with many workers and short epochs there is no time to ask after each
        start, trials = time.monotonic(), self._study.trials()
        pause = self._freeze_thaw.pause(
            self._seen(trials, active),
            active[key].trial.number,
            new=self._new(trials),
            seconds_left=self._known(seconds_left),
        )
        end = time.monotonic()
        self._next_verdict = end + (end - start) * (1 - SHARE) / SHARE
        return None if pause is None else ("pause", _why(pause, is_front=bool(self._spec.search.against)))

    def unfinished_elsewhere(self, *, is_late: bool) -> tuple[TrialState, ...]:  # noqa: ARG002
        """Running ones: their run may die. Waiting ones are this run's choice already."""
        return (TrialState.RUNNING,)

    def _new(self, trials: list[FrozenTrial]) -> int:
        """Return how many more trials may begin."""
        begun = sum(TrialRecord(trial).began and TrialRecord(trial).counts for trial in trials)
        return max(0, self._spec.trials - begun)

    def _seen(self, trials: list[FrozenTrial], active: Mapping[str, Active]) -> list[Seen]:
        own = {training.trial.number: training for training in active.values()}
        seen = []
        for trial in trials:
            record = TrialRecord(trial)
            if not record.began or record.foreign or record.outside:
                continue
            if not self._space.knobs.keys() <= trial.params.keys():
                continue
            curve = own[trial.number].curve if trial.number in own else record.curve
            values = {point.number: point.macro_f1 or 0.0 for point in curve} | trial.intermediate_values
            if curve and curve[-1].seconds:
                self._pace.note(trial.number, record.flops or 1, curve[-1].seconds / curve[-1].number)
            snapshot = self._study.snapshot(f"trial {trial.number}")
            seen.append(
                Seen(
                    trial.number,
                    trial.params,
                    tuple(value for _, value in sorted(values.items())),
                    _state(trial),
                    seconds=self._pace.of(trial.number, record.flops or 1),
                    kept=trial.state != TrialState.WAITING or snapshot.exists(),
                )
            )
        return seen

    def _known(self, seconds_left: float) -> float:
        """Return the seconds left, infinite before the speed of any training is known.

        Also while a job of minutes has no result: then a trial is completed, however late.
        """
        is_known = self._pace.is_known and not needs_a_result(self._study, self._spec)
        return seconds_left if is_known else np.inf

    def _is_allowed(self, knobs: dict[str, Any]) -> bool:
        config, limits = self._config(knobs), self._spec.limits
        constraints = constraints_of(limits, self._spec.final.deployed(config), self._classes)
        if limits.max_latency_ms is not None and "latency_ms" in self._spec.search.against:
            predicted = dict(zip(self._spec.search.against, self._costs_of(config), strict=True))
            constraints |= over(predicted["latency_ms"], limits)
        return violations(constraints, limits) is None

    def _costs(self, knobs: dict[str, Any]) -> tuple[float, ...]:
        return with_floor(self._spec.search, self._costs_of(self._config(knobs)))

    def _flops(self, knobs: dict[str, Any]) -> float:
        return describe(self._config(knobs), self._classes).flops

    def _config(self, knobs: dict[str, Any]) -> TrialConfig:
        # Thousands of candidates for a proposal, whose values are of the space: they are not checked again.
        return TrialConfig.model_construct(**self._space.pinned | knobs)


class Pace:
    """The seconds of an epoch by the operations of a network: a power law, fitted to the trials so far."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[float, float]] = {}  # trial -> logarithms of its FLOPs and seconds

    @property
    def is_known(self) -> bool:
        """Whether a trial's speed is known."""
        return bool(self._known)

    def note(self, number: int, flops: float, seconds: float) -> None:
        """Note the seconds of an epoch of a trial."""
        self._known[number] = float(np.log(max(flops, 1))), float(np.log(seconds))

    def of(self, number: int, flops: float) -> float:
        """Return the seconds of an epoch of a trial, measured or expected."""
        return float(np.exp(self._known[number][1])) if number in self._known else self.seconds(flops)

    def seconds(self, flops: float) -> float:
        """Return the expected seconds of an epoch; 1 before anything is known."""
        if not self._known:
            return 1.0
        x, y = np.array(list(self._known.values())).T
        spread = x.var()
        slope = np.clip(((x - x.mean()) * (y - y.mean())).mean() / spread, 0, 1) if spread > 0 else 1.0
        return float(np.exp(y.mean() + slope * (np.log(max(flops, 1)) - x.mean())))


def _state(trial: FrozenTrial) -> State:
    if trial.state == TrialState.RUNNING:
        return "running"
    if trial.state == TrialState.WAITING:
        return "paused"
    if any(excess > 0 for excess in trial.constraints.values()):
        return "bad"
    return ENDED.get(trial.state, "ended")


def _reason(end: End) -> str:
    if end.promised is None or end.noise is None:
        return "no trial can be completed in the time that is left"
    promised = "less than 0.0001" if end.promised < 0.0001 else f"{end.promised:.4f}"
    return f"all that is left promises {promised}, and two seeds differ by {end.noise:.4f}"


def _why(pause: Pause, *, is_front: bool) -> str:
    if pause.promised is None:
        return "others had not begun"
    if pause.best is None:
        return f"promised {f1(pause.promised)}, others more for the front"
    return f"promised {f1(pause.promised)}, the best{' of no more cost' if is_front else ''} {f1(pause.best)}"
