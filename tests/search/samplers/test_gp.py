"""The Gaussian process proposes what Optuna's proposes, and learns from trials that were pruned or over a limit."""

import math
from collections.abc import Sequence
from typing import Any, get_args

import numpy as np
import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from search.samplers.gp import Curves, GPSampler, _Modelled
from search.samplers.learning_curves import warp
from search.samplers.names import Pruner
from tests.search.tiny import tiny_spec

SPACE: dict[str, BaseDistribution] = {
    "filters": IntDistribution(8, 64, log=True),
    "rate": FloatDistribution(1e-4, 0.1, log=True),
    "pool": CategoricalDistribution(("before", "after")),
}
STARTUP = 4
EPOCHS = 9
VALUES = st.floats(0, 1, width=16)


def height(trial: optuna.Trial) -> float:
    """0.98 at a rate of 0.01 with 64 filters, pooled before."""
    wrong = abs(math.log10(trial.params["rate"]) + 2) / 4 + (64 - trial.params["filters"]) / 560
    return float(0.98 - wrong - 0.02 * (trial.params["pool"] == "after"))


def searched(
    sampler: optuna.samplers.BaseSampler,
    *,
    pruner: str = "none",
    trials: int = 30,
    largest: int = 64,
    is_warped: bool = False,
) -> optuna.Study:
    """After so many trials, and those with more filters than `largest`, which are not trained."""
    study = optuna.create_study(
        direction="maximize", sampler=sampler, pruner=tiny_spec(pruner=pruner, epochs=EPOCHS).make_pruner()
    )
    trained = 0
    while trained < trials:
        trial = study.ask(SPACE)
        if largest < 64:
            trial.set_constraint("filters", trial.params["filters"] / largest - 1)
        if trial.params["filters"] > largest:
            study.tell(trial, state=TrialState.PRUNED)
            continue
        trained += 1
        value = height(trial)
        for epoch in range(1, EPOCHS + 1):
            trial.report(value - 0.3 / epoch, step=epoch)
            if epoch < EPOCHS and trial.should_prune():
                study.tell(trial, state=TrialState.PRUNED)
                break
        else:
            last = value - 0.3 / EPOCHS
            study.tell(trial, -math.log1p(-last) if is_warped else last)
    return study


def refused(studies: Sequence[optuna.Study]) -> int:
    """Trials that were not trained."""
    return sum(not trial.intermediate_values for study in studies for trial in study.trials)


def again(study: optuna.Study) -> int:
    """Pruned trials that are close beside an earlier one."""
    pruned = [trial.params for trial in study.trials if trial.state == TrialState.PRUNED]
    return sum(any(_close(one, other) for other in pruned[:place]) for place, one in enumerate(pruned))


def _close(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return one["pool"] == other["pool"] and all(
        abs(math.log(one[name] / other[name])) < 0.1 for name in ("filters", "rate")
    )


def found(study: optuna.Study) -> float:
    """The best value that the search found, without what a training of so few epochs lacks."""
    return study.best_value + 0.3 / EPOCHS


@pytest.mark.slow
def test_of_whole_trials_it_proposes_as_optunas_does() -> None:
    ours, theirs = (
        searched(sampler(seed=1, n_startup_trials=STARTUP), trials=12, is_warped=sampler is not GPSampler)
        for sampler in (GPSampler, optuna.samplers.GPSampler)
    )
    assert [trial.params for trial in ours.trials] == [
        trial.params | {"rate": pytest.approx(trial.params["rate"])} for trial in theirs.trials
    ]


@pytest.mark.slow
@pytest.mark.parametrize("pruner", [name for name in get_args(Pruner) if name not in ("wilcoxon", "freeze-thaw")])
def test_it_finds_the_best_under_each_pruner(pruner: str) -> None:
    study = searched(GPSampler(seed=3, n_startup_trials=STARTUP), pruner=pruner)
    assert pruner in ("none", "patient") or any(trial.state == TrialState.PRUNED for trial in study.trials)
    assert found(study) > 0.95


@pytest.mark.slow
def test_what_was_pruned_is_not_proposed_again() -> None:
    ours = [
        searched(GPSampler(seed=seed, n_startup_trials=STARTUP), pruner="percentile", trials=16) for seed in (0, 1, 3)
    ]
    assert any(trial.state == TrialState.PRUNED for study in ours for trial in study.trials)
    assert sum(again(study) for study in ours) == 0
    theirs = searched(optuna.samplers.GPSampler(seed=0, n_startup_trials=STARTUP), pruner="percentile", trials=16)
    assert again(theirs) > 5  # once it does not, ours may be done without


@pytest.mark.slow
def test_it_learns_a_limit_and_goes_up_to_it() -> None:
    studies = [searched(GPSampler(seed=seed, n_startup_trials=STARTUP), trials=20, largest=20) for seed in range(3)]
    assert sorted(study.best_params["filters"] for study in studies)[1] >= 19
    randomly = [searched(optuna.samplers.RandomSampler(seed=seed), trials=20, largest=20) for seed in range(3)]
    assert refused(studies) < refused(randomly) / 2


def test_networks_that_were_refused_are_no_start() -> None:
    sampler = GPSampler(seed=0, n_startup_trials=STARTUP)
    study = searched(sampler, trials=3, largest=10)
    assert len(study.trials) > STARTUP
    randomly = searched(optuna.samplers.RandomSampler(seed=0), trials=3, largest=10)
    assert [trial.params for trial in study.trials] == [trial.params for trial in randomly.trials]


def test_trials_may_differ_in_their_constraints() -> None:
    sampler = GPSampler(seed=0, n_startup_trials=STARTUP)
    study = searched(sampler, trials=6)
    for constraint in ("diverged", "memory"):
        trial = study.ask(SPACE)
        trial.set_constraint(constraint, 1.0)
        study.tell(trial, state=TrialState.PRUNED)
    assert study.ask(SPACE).params.keys() == SPACE.keys()


@st.composite
def trials(draw: st.DrawFn) -> FrozenTrial:
    """One that ended."""
    curve = draw(st.lists(VALUES | st.just(math.nan), max_size=3))
    is_complete = bool(curve) and not math.isnan(curve[-1]) and draw(st.booleans())
    params = {
        "filters": draw(st.integers(8, 64)),
        "rate": draw(st.floats(1e-4, 0.1)),
        "pool": draw(st.sampled_from(["before", "after"])),
    }
    return create_trial(
        params=params,
        distributions=SPACE,
        value=curve[-1] if is_complete else None,
        intermediate_values=dict(enumerate(curve, start=1)),
        state=TrialState.COMPLETE if is_complete else TrialState.PRUNED,
    )


@settings(deadline=None)
@given(history=st.lists(trials(), max_size=12))
def test_a_pruned_trial_counts_with_what_it_would_have_had(history: list[FrozenTrial]) -> None:
    complete = [trial for trial in history if trial.state == TrialState.COMPLETE]
    values = Curves(0).ends(history, SPACE)
    if not complete:
        assert values == {}
        return
    best = max(trial.values[0] for trial in complete)
    longest = max(len(trial.intermediate_values) for trial in complete)
    for index, trial in enumerate(history):
        curve = trial.intermediate_values
        if trial.state == TrialState.COMPLETE:
            assert values[index] == trial.values[0]
        elif all(math.isnan(value) for value in curve.values()) or len(curve) > longest:
            assert index not in values
        else:
            assert values[index] <= best


def test_the_end_of_a_pruned_trial_is_foretold_from_its_curve_and_its_knobs() -> None:
    study = searched(optuna.samplers.RandomSampler(seed=0), trials=24)
    whole = study.trials
    cut = [trial if index % 2 else _cut(trial, 1 + index % 4) for index, trial in enumerate(whole)]
    values = Curves(0).ends(cut, SPACE)
    best = max(trial.values[0] for trial in whole if whole.index(trial) % 2)
    off = [values[index] - min(best, trial.values[0]) for index, trial in enumerate(whole)]
    assert max(map(abs, off)) < 0.03


def _cut(trial: FrozenTrial, epochs: int) -> FrozenTrial:
    curve = {epoch: value for epoch, value in trial.intermediate_values.items() if epoch <= epochs}
    return create_trial(params=trial.params, distributions=SPACE, intermediate_values=curve, state=TrialState.PRUNED)


@settings(deadline=None)
@given(history=st.lists(trials(), max_size=40))
def test_the_model_is_of_the_best_and_the_latest(history: list[FrozenTrial]) -> None:
    study = optuna.create_study(direction="maximize")
    study.add_trials(history)
    running = study.ask(SPACE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("search.samplers.gp.MODELLED", 20)
        modelled = _Modelled(study, SPACE, STARTUP, Curves(0))._get_trials(use_cache=False)
    assert modelled[-1].number == running.number
    ended = modelled[:-1]
    values = Curves(0).ends(history, SPACE)
    if len(values) < STARTUP:
        assert ended == []
        return
    assert len(ended) == len(history) if len(history) <= 20 else 10 <= len(ended) <= 20
    assert {trial.state for trial in ended} == {TrialState.COMPLETE}
    best = max(trial.values[0] for trial in history if trial.state == TrialState.COMPLETE)
    assert max(trial.values[0] for trial in ended) == pytest.approx(warp(np.array(best)))
    latest = [trial.params for trial in history[-10:]]
    assert [trial.params for trial in ended][-len(latest) :] == latest
