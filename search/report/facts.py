"""The contents of a report as plain data, for a study in any state."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from optuna.trial import FrozenTrial, TrialState
from pydantic import JsonValue

from fmnist.config import TrialConfig
from fmnist.knobs import Scalar
from search.report.chosen import Chosen, read_chosen
from search.report.front import PointOfFront, diverged_points, points_of_front
from search.report.importances import Importances, read_importances
from search.report.wider import Wider, read_wider
from search.storage.trial_record import TrialRecord
from search.study.extension import Extension
from search.study.front import LatencyModel
from search.study.record import Record, parse_record, record_in, records_in
from search.study.records import (
    Ablation,
    Ablations,
    Confirmation,
    DataRecord,
    Decision,
    Dropped,
    Environment,
    Final,
    Opening,
    PriorRecord,
    SearchEnd,
    Timing,
)
from search.study.study import Study
from search.study.trials import constraints_of, is_eligible, value_of
from search.study.winner import Standings, standings

BEST_SHOWN = 5  # trials side by side that fit 80 columns


class Searched(Record):
    """A trial as the search scored it: one seed, on the validation split."""

    number: int
    state: str  # "complete" or "pruned"
    value: float | None  # macro F1; the last one if the trial was pruned
    feasible: bool  # within every constraint of the study, and in its space
    knobs: dict[str, Scalar | None]  # the searched ones only
    parameters: int | None
    flops: int | None  # to score an image
    seconds: float | None
    seed: int | None


class Confirmed(Record):
    """A candidate and its scores on fresh seeds so far, on the validation split."""

    trial: int
    search_value: float
    seeds: int
    mean: float | None
    sd: float | None


class Optimism(Record):
    """The search value of the best trial minus the confirmed mean of the same trial."""

    trial: int
    search_value: float
    confirmed_mean: float
    difference: float


class Refusals(Record):
    """The number of trials that were refused for exceeding the same limits."""

    over: tuple[str, ...]  # names of the limits
    trials: int


class States(Record):
    """The number of trials in each state, and why trials ended early; the most frequent reasons first."""

    waiting: int
    running: int
    complete: int
    pruned: int
    refused: int  # over a limit before training; Optuna's state is pruned, and they do not count towards a budget
    failed: int
    pruned_because: dict[str, int]
    refused_because: dict[str, int]  # each size is a separate reason
    refused_over: tuple[Refusals, ...]  # the same trials grouped by limits, the largest group first
    failed_because: dict[str, int]


class Report(Record):
    """The contents of a report; its fields are the keys of report.json, None or empty until their stage is done."""

    study: str
    spec: dict[str, JsonValue]  # the resolved StudySpec
    data: DataRecord | None
    final: Final | None  # the result, on the test split
    front: tuple[PointOfFront, ...]  # the cheapest first
    diverged: tuple[Dropped, ...]  # points of the front without a result
    latency: LatencyModel | None  # of a search against latency_ms
    confirmed: tuple[Confirmed, ...]  # best mean first
    winner: int | None  # the trial with the best mean, once every candidate has its seeds
    dropped: tuple[Dropped, ...]  # candidates that diverged
    optimism: Optimism | None
    chosen: Chosen | None  # configuration of the winner, or of the best trial so far
    wider: Wider | None  # if a value of it is at the end of its range
    ablation: Ablation | None  # the latest
    best: tuple[Searched, ...]  # of the search, best first
    states: States
    importances: Importances
    prior: PriorRecord | None  # what the model of the search began with
    extensions: tuple[Extension, ...]  # of the space, oldest first
    search_end: SearchEnd | None  # if the search ended before its budget, which had nothing more to promise
    decisions: tuple[Decision, ...]  # of a job with a limit of minutes, oldest first
    timing: Timing
    environments: tuple[Environment, ...]  # one for each run, oldest first
    openings: tuple[Opening, ...]  # evaluations on the test split, oldest first

    @property
    def best_trial(self) -> Searched | None:
        """Return the search's best trial; it is the winner only if the confirm stage chose it."""
        return next((row for row in self.best if row.feasible and row.state == "complete"), None)

    @property
    def standings(self) -> Standings:
        """Map the numbers of the winner and the best trial to these words, the winner first."""
        return standings(self.winner, self.best_trial.number if self.best_trial else None)

    @property
    def limits(self) -> dict[str, int | float]:
        """Return the limits that the study sets, by name."""
        section = self.spec.get("limits")
        return (
            {name: limit for name, limit in section.items() if isinstance(limit, int | float)}
            if isinstance(section, dict)
            else {}
        )


def read_report(study: Study) -> Report:
    """Read the report of `study` from its storage, in a single pass.

    Raises: SearchError if the study has a record that this version cannot read.
    """
    attributes = study.attributes
    trials = study.trials()
    spec = parse_record(attributes.get("spec", {}), "spec", dict[str, JsonValue])
    confirmation = record_in(attributes, Confirmation) or Confirmation(candidates=())
    chosen, data = read_chosen(trials, confirmation.winner), record_in(attributes, DataRecord)
    environments = records_in(attributes, Environment)
    return Report(
        study=study.name,
        spec=spec,
        data=data,
        final=record_in(attributes, Final),
        front=points_of_front(study),
        diverged=diverged_points(study),
        latency=study.read(LatencyModel),
        confirmed=confirmed_in(confirmation),
        winner=confirmation.winner,
        dropped=confirmation.dropped,
        optimism=None if confirm_epochs(spec) else optimism_in(confirmation),
        chosen=chosen,
        wider=read_wider(study, spec, trials, chosen, data, environments),
        ablation=next(reversed((record_in(attributes, Ablations) or Ablations()).found), None),
        best=_best(trials),
        states=states_of(trials),
        importances=read_importances(study, trials, data),
        prior=record_in(attributes, PriorRecord),
        extensions=records_in(attributes, Extension),
        search_end=_search_end(attributes, spec),
        decisions=records_in(attributes, Decision),
        timing=record_in(attributes, Timing) or Timing(),
        environments=environments,
        openings=records_in(attributes, Opening),
    )


def _search_end(attributes: Mapping[str, Any], spec: Mapping[str, JsonValue]) -> SearchEnd | None:
    """Return the end of a search of the present budget: a larger one may be under way."""
    end, section = record_in(attributes, SearchEnd), spec.get("search")
    budget = section if isinstance(section, dict) else {}
    return end if end and (end.trials, end.minutes) == (budget.get("trials"), budget.get("minutes")) else None


def confirm_epochs(spec: Mapping[str, JsonValue]) -> int | None:
    """Return the epochs of the confirm stage if they are not those of the search, with which it cannot be compared."""
    section, knobs = spec.get("confirm"), spec.get("knobs")
    epochs = section.get("epochs") if isinstance(section, dict) else None
    usual = (knobs if isinstance(knobs, dict) else {}).get("epochs", TrialConfig.model_fields["epochs"].default)
    return epochs if isinstance(epochs, int) and epochs != usual else None


def confirmed_in(confirmation: Confirmation) -> tuple[Confirmed, ...]:
    """Return the candidates with their scores on fresh seeds, best mean first."""
    rows = [
        Confirmed(
            trial=candidate.trial,
            search_value=candidate.search_value,
            seeds=len(candidate.runs),
            mean=candidate.mean if candidate.runs else None,
            sd=candidate.sd,
        )
        for candidate in confirmation.candidates
    ]
    return tuple(sorted(rows, key=lambda row: -math.inf if row.mean is None else row.mean, reverse=True))


def optimism_in(confirmation: Confirmation) -> Optimism | None:
    """Return the optimism of the search's best candidate; None before it has a fresh seed."""
    if not confirmation.candidates:
        return None
    best = max(confirmation.candidates, key=lambda candidate: candidate.search_value)
    if not best.runs:
        return None
    return Optimism(
        trial=best.trial,
        search_value=best.search_value,
        confirmed_mean=best.mean,
        difference=best.search_value - best.mean,
    )


def _best(trials: Sequence[FrozenTrial]) -> tuple[Searched, ...]:
    def rank(row: Searched) -> tuple[bool, bool, float]:
        return row.feasible, row.state == "complete", -math.inf if row.value is None else row.value

    candidates = [trial for trial in trials if TrialRecord(trial).outside is None]
    ended = [searched(trial) for trial in candidates if trial.state in (TrialState.COMPLETE, TrialState.PRUNED)]
    scored = [row for row in ended if row.value is not None]
    return tuple(sorted(scored, key=rank, reverse=True)[:BEST_SHOWN])


def searched(trial: FrozenTrial) -> Searched:
    """Return the trial's score, size and configuration, with its state in lower case."""
    record = TrialRecord(trial)
    return Searched(
        number=trial.number,
        state=trial.state.name.lower(),
        value=value_of(trial),
        feasible=is_eligible(trial),
        knobs=trial.params,
        parameters=record.parameters,
        flops=record.flops,
        seconds=record.seconds,
        seed=record.seed,
    )


def broken_limits(trial: FrozenTrial) -> tuple[str, ...]:
    """Return the names of the limits that the trial exceeds."""
    return tuple(name for name, share in constraints_of(trial).items() if share > 0)


def states_of(trials: Sequence[FrozenTrial]) -> States:
    """Count the trials of a study by state and by reason."""
    refused = [trial for trial in trials if TrialRecord(trial).is_refused]
    others = [trial for trial in trials if TrialRecord(trial).counts]
    counts = Counter(trial.state for trial in others)
    over = Counter(tuple(sorted(broken_limits(trial))) for trial in refused if trial.state == TrialState.PRUNED)
    return States(
        waiting=counts[TrialState.WAITING],
        running=counts[TrialState.RUNNING],
        complete=counts[TrialState.COMPLETE],
        pruned=counts[TrialState.PRUNED],
        refused=len(refused),
        failed=counts[TrialState.FAIL],
        pruned_because=_reasons(others, TrialState.PRUNED),
        refused_because=_reasons(refused, TrialState.PRUNED),
        refused_over=tuple(Refusals(over=limits, trials=count) for limits, count in over.most_common()),
        failed_because=_reasons(others, TrialState.FAIL),
    )


def _reasons(trials: Sequence[FrozenTrial], state: TrialState) -> dict[str, int]:
    reasons = (TrialRecord(trial).reason or "no reason recorded" for trial in trials if trial.state == state)
    # What a paused trial promised differs from trial to trial.
    return dict(Counter(reason.partition(": promised ")[0] for reason in reasons).most_common())
