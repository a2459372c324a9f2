"""What a study has to say, as plain data: all that a report shows, whatever state the study is in."""

import math
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import optuna
from optuna.trial import FrozenTrial, TrialState
from pydantic import JsonValue

from fmnist.knobs import Scalar
from search.study.records import (
    Ablation,
    Ablations,
    Confirmation,
    DataRecord,
    Dropped,
    Environment,
    Final,
    Opening,
    Record,
    Timing,
    parse_record,
    record_in,
    records_in,
)
from search.study.study import Study
from search.study.trials import REFUSED, UNCOUNTED, constraints_of

BEST_SHOWN = 5  # trials side by side that fit 80 columns
ENOUGH_FOR_IMPORTANCES = 4  # complete trials; with fewer, a forest of trees splits on noise alone
SAME_SCORE = 1e-6  # values nearer than this leave importances nothing to explain


class Searched(Record):
    """A trial as the search scored it: one seed, on the validation split."""

    number: int
    state: str  # "complete" or "pruned"
    value: float | None  # macro F1; of a pruned trial its last one
    feasible: bool  # within every constraint of the study
    knobs: dict[str, Scalar | None]  # the searched ones only
    parameters: int | None
    flops: int | None  # of one image's forward pass
    seconds: float | None
    seed: int | None


class Confirmed(Record):
    """A candidate over its fresh seeds so far, on the validation split."""

    trial: int
    search_value: float
    seeds: int
    mean: float | None
    sd: float | None


class Optimism(Record):
    """By how much the search flattered its best trial: search value minus the confirmed mean of that same trial."""

    trial: int
    search_value: float
    confirmed_mean: float
    difference: float


class Refusals(Record):
    """How many trials were refused for being over the same limits."""

    over: tuple[str, ...]  # names of the limits
    trials: int


class States(Record):
    """How many trials are in each state, and why those that stopped early did; reasons most frequent first."""

    waiting: int
    running: int
    complete: int
    pruned: int
    refused: int  # over a limit before they trained: Optuna's state is pruned, and they count against no budget
    failed: int
    pruned_because: dict[str, int]
    refused_because: dict[str, int]  # each size is a reason of its own
    refused_over: tuple[Refusals, ...]  # the same trials by the limits, most trials first
    failed_because: dict[str, int]


class Importances(Record):
    """The share of the score's variation that each knob explains, largest first; or why that cannot be said."""

    shares: dict[str, float]
    absent: str | None


class Confusion(NamedTuple):
    """Images of one class, by its number, that the exported model takes for another."""

    true: int
    predicted: int
    mistaken: int
    images: int  # of the true class


class Pair(NamedTuple):
    """Two classes, by their numbers, that the exported model takes for each other; the one more often mistaken
    first.
    """

    one: int
    other: int
    one_as_other: int
    other_as_one: int

    @property
    def together(self) -> int:
        """Mistakes both ways."""
        return self.one_as_other + self.other_as_one


class Report(Record):
    """Everything a report says; its fields are the keys of report.json. None or empty: the study has not got there
    yet.
    """

    study: str
    spec: dict[str, JsonValue]  # the resolved StudySpec
    data: DataRecord | None
    final: Final | None  # the result, on the test split
    confirmed: tuple[Confirmed, ...]  # best mean first
    winner: int | None  # the trial with the best mean, once every candidate has its seeds
    dropped: tuple[Dropped, ...]  # that were candidates until they diverged
    optimism: Optimism | None
    ablation: Ablation | None  # the latest
    best: tuple[Searched, ...]  # of the search, best first
    states: States
    importances: Importances
    timing: Timing
    environments: tuple[Environment, ...]  # one a run, oldest first
    openings: tuple[Opening, ...]  # looks at the test split, oldest first

    @property
    def limits(self) -> dict[str, int | float]:
        """Those that the study sets, by name."""
        section = self.spec.get("limits")
        return (
            {name: limit for name, limit in section.items() if isinstance(limit, int | float)}
            if isinstance(section, dict)
            else {}
        )


def read_report(study: Study) -> Report:
    """All that `study` knows by now, from one reading of its storage.

    Raises: SearchError where the study holds a record that this version cannot read.
    """
    attributes = study.attributes
    trials = study.trials()
    confirmation = record_in(attributes, Confirmation) or Confirmation(candidates=())
    return Report(
        study=study.name,
        spec=parse_record(attributes.get("spec", {}), "spec", dict[str, JsonValue]),
        data=record_in(attributes, DataRecord),
        final=record_in(attributes, Final),
        confirmed=_confirmed(confirmation),
        winner=confirmation.winner,
        dropped=confirmation.dropped,
        optimism=_optimism(confirmation),
        ablation=next(reversed((record_in(attributes, Ablations) or Ablations()).found), None),
        best=_best(trials),
        states=_states(trials),
        importances=_importances(study, trials),
        timing=(record_in(attributes, Timing) or Timing()),
        environments=records_in(attributes, Environment),
        openings=records_in(attributes, Opening),
    )


def most_confused(final: Final, shown: int) -> list[Confusion]:
    """The `shown` most frequent mistakes on the test split, most frequent first."""
    found = [
        Confusion(true, predicted, count, sum(row))
        for true, row in enumerate(final.confusion)
        for predicted, count in enumerate(row)
        if true != predicted and count
    ]
    return sorted(found, key=lambda one: one.mistaken, reverse=True)[:shown]


def hardest_pairs(final: Final, shown: int) -> list[Pair]:
    """The `shown` pairs of classes with most mistakes both ways together, most first."""
    found = []
    for i, row in enumerate(final.confusion):
        for j in range(i):
            one, other = (i, j) if row[j] >= final.confusion[j][i] else (j, i)
            found.append(Pair(one, other, final.confusion[one][other], final.confusion[other][one]))
    return sorted((pair for pair in found if pair.together), key=lambda pair: pair.together, reverse=True)[:shown]


def _confirmed(confirmation: Confirmation) -> tuple[Confirmed, ...]:
    rows = [
        Confirmed(
            trial=one.trial,
            search_value=one.search_value,
            seeds=len(one.runs),
            mean=one.mean if one.runs else None,
            sd=one.sd,
        )
        for one in confirmation.candidates
    ]
    return tuple(sorted(rows, key=lambda row: -math.inf if row.mean is None else row.mean, reverse=True))


def _optimism(confirmation: Confirmation) -> Optimism | None:
    if not confirmation.candidates:
        return None
    best = max(confirmation.candidates, key=lambda one: one.search_value)
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

    ended = [searched(trial) for trial in trials if trial.state in (TrialState.COMPLETE, TrialState.PRUNED)]
    scored = [row for row in ended if row.value is not None]
    return tuple(sorted(scored, key=rank, reverse=True)[:BEST_SHOWN])


def searched(trial: FrozenTrial) -> Searched:
    """The trial's score, size and configuration; its state in small letters."""
    attributes = trial.user_attrs
    return Searched(
        number=trial.number,
        state=trial.state.name.lower(),
        value=None if trial.value is None or math.isnan(trial.value) else trial.value,
        feasible=is_feasible(trial),
        knobs=trial.params,
        parameters=attributes.get("parameters"),
        flops=attributes.get("flops"),
        seconds=attributes.get("seconds"),
        seed=attributes.get("seed"),
    )


def is_feasible(trial: FrozenTrial) -> bool:
    """Whether the trial is within every limit of its study, and neither diverged nor ran out of memory."""
    return all(over <= 0 for over in trial.constraints.values())


def broken_limits(trial: FrozenTrial) -> tuple[str, ...]:
    """The names of the limits that the trial is over."""
    return tuple(name for name, share in constraints_of(trial).items() if share > 0)


def _states(trials: Sequence[FrozenTrial]) -> States:
    refused = [trial for trial in trials if REFUSED in trial.user_attrs]
    others = [trial for trial in trials if not UNCOUNTED & trial.user_attrs.keys()]
    count = Counter(trial.state for trial in others)
    over = Counter(tuple(sorted(broken_limits(trial))) for trial in refused if trial.state == TrialState.PRUNED)
    return States(
        waiting=count[TrialState.WAITING],
        running=count[TrialState.RUNNING],
        complete=count[TrialState.COMPLETE],
        pruned=count[TrialState.PRUNED],
        refused=len(refused),
        failed=count[TrialState.FAIL],
        pruned_because=_reasons(others, TrialState.PRUNED),
        refused_because=_reasons(refused, TrialState.PRUNED),
        refused_over=tuple(Refusals(over=limits, trials=trials) for limits, trials in over.most_common()),
        failed_because=_reasons(others, TrialState.FAIL),
    )


def _reasons(trials: Sequence[FrozenTrial], state: TrialState) -> dict[str, int]:
    reasons = (str(trial.user_attrs.get("reason", "no reason recorded")) for trial in trials if trial.state == state)
    return dict(Counter(reasons).most_common())


def _importances(study: Study, trials: Sequence[FrozenTrial]) -> Importances:
    scored = [trial for trial in trials if trial.state == TrialState.COMPLETE and math.isfinite(trial.value or 0.0)]
    absent = _why_no_importances(scored)
    return Importances(shares={} if absent else _shares(study), absent=absent)


def _why_no_importances(scored: Sequence[FrozenTrial]) -> str | None:
    if len(scored) < ENOUGH_FOR_IMPORTANCES:
        return f"{len(scored)} complete of the {ENOUGH_FOR_IMPORTANCES} trials that importances need"
    values = [trial.value or 0.0 for trial in scored]
    if max(values) - min(values) < SAME_SCORE:
        return "every complete trial scored the same"
    shared = optuna.search_space.intersection_search_space(list(scored))
    if not any(len({trial.params[name] for trial in scored}) > 1 for name in shared):
        return "no knob varies over all complete trials"
    return None


def _shares(study: Study) -> dict[str, float]:
    # Mean decrease of impurity: it learns from every complete trial. PED-ANOVA, Optuna's default, looks at the best
    # tenth, which of 20 trials is two; fANOVA stops with an error where its trees find nothing to split. Both say more
    # about large studies.
    evaluator = optuna.importance.MeanDecreaseImpurityImportanceEvaluator(seed=0)
    return {
        name: float(share)
        for name, share in optuna.importance.get_param_importances(study.optuna, evaluator=evaluator).items()
    }
