"""The sampler proposes what Optuna's proposes, and in long studies from the best trials and the latest."""

import math
from typing import get_args

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers._tpe.sampler import _split_trials
from optuna.trial import FrozenTrial, TrialState, create_trial

from search.samplers.names import Pruner
from search.samplers.tpe import TPESampler, _Modelled
from tests.search.tiny import tiny_spec

SPACE: dict[str, BaseDistribution] = {
    "filters": IntDistribution(8, 64, log=True),
    "rate": FloatDistribution(1e-4, 0.1, log=True),
    "depth": IntDistribution(1, 4),
    "pool": CategoricalDistribution(("before", "after", None)),
}
STARTUP = 5
VALUES = st.floats(0, 1, width=16)


@st.composite
def trials(draw: st.DrawFn) -> FrozenTrial:
    """One that is complete, pruned, running or over a limit, now and then without one of the knobs."""
    state = draw(
        st.sampled_from(
            [TrialState.COMPLETE, TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING, TrialState.FAIL]
        )
    )
    params = {
        "filters": draw(st.integers(8, 64)),
        "rate": draw(st.floats(1e-4, 0.1)),
        "depth": draw(st.integers(1, 4)),
        "pool": draw(st.sampled_from(["before", "after", None])),
    }
    if draw(st.integers(0, 9)) == 0:
        del params["depth"]
    curve = draw(st.lists(VALUES | st.just(math.nan), max_size=3)) if state == TrialState.PRUNED else []
    trial = create_trial(
        params=params,
        distributions={name: SPACE[name] for name in params},
        value=draw(VALUES) if state == TrialState.COMPLETE else None,
        intermediate_values=dict(enumerate(curve, start=1)),
        state=state,
    )
    if state != TrialState.RUNNING and draw(st.integers(0, 4)) == 0:
        trial.set_constraint("size", draw(st.floats(0.1, 1)))
    return trial


def study_of(sampler: optuna.samplers.BaseSampler, history: list[FrozenTrial]) -> optuna.Study:
    study = optuna.create_study(direction="maximize", sampler=sampler)
    study.add_trials(history)
    return study


def proposals(study: optuna.Study, count: int) -> list[dict[str, object]]:
    """Each trial but the last ends before the next one is asked for."""
    found = []
    for number in range(count):
        trial = study.ask(SPACE)
        found.append(trial.params)
        study.tell(trial, 0.5 + number / 100)
    return found


@given(history=st.lists(trials(), min_size=STARTUP, max_size=40), seed=st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_it_proposes_as_optunas_does(history: list[FrozenTrial], seed: int) -> None:
    ours = study_of(TPESampler(seed=seed, n_startup_trials=STARTUP), history)
    theirs = study_of(optuna.samplers.TPESampler(seed=seed, n_startup_trials=STARTUP), history)
    assert proposals(ours, 3) == proposals(theirs, 3)


@pytest.mark.slow
@pytest.mark.parametrize("pruner", [name for name in get_args(Pruner) if name != "freeze-thaw"])
def test_a_whole_search_proposes_as_optunas_does_under_each_pruner(pruner: str) -> None:
    spec = tiny_spec(trials=100, sampler="tpe", pruner=pruner, epochs=9)
    optunas_pruner = optuna.pruners.HyperbandPruner(1, 9, 3) if pruner == "hyperband" else spec.make_pruner()
    ours = searched(spec.make_sampler(seed=1), spec.make_pruner())
    assert ours == searched(optuna.samplers.TPESampler(seed=1, n_startup_trials=STARTUP), optunas_pruner)
    assert pruner in ("none", "patient", "wilcoxon") or any(len(curve) < 9 for _, curve in ours)


def searched(
    sampler: optuna.samplers.BaseSampler, pruner: optuna.pruners.BasePruner
) -> list[tuple[dict[str, object], list[float]]]:
    """Of each trial its configuration and its values."""
    study = optuna.create_study(study_name="same", direction="maximize", sampler=sampler, pruner=pruner)
    for _ in range(40):
        trial = study.ask(SPACE)
        height = 1 - abs(math.log(trial.params["rate"] / 0.01)) / 10 - trial.params["depth"] / 100
        for epoch in range(1, 10):
            trial.report(height * (1 - 0.3 / epoch), step=epoch)
            if trial.should_prune():
                study.tell(trial, state=TrialState.PRUNED)
                break
        else:
            study.tell(trial, height)
    return [(trial.params, list(trial.intermediate_values.values())) for trial in study.trials]


@given(history=st.lists(trials(), min_size=30, max_size=60))
@settings(max_examples=30, deadline=None)
def test_of_many_trials_it_models_the_good_ones_and_the_latest(history: list[FrozenTrial]) -> None:
    study = study_of(optuna.samplers.RandomSampler(), history)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("search.samplers.tpe.MODELLED", 20)
        patch.setattr("search.samplers.tpe.MOST_GOOD", 5)
        states = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING)
        modelled = _Modelled(study, {})._get_trials(deepcopy=False, states=states)
    every = study.get_trials(deepcopy=False, states=states)
    numbers = [trial.number for trial in modelled]
    assert numbers == sorted(set(numbers))
    good, _ = _split_trials(study, every, 5)
    assert {trial.number for trial in good} <= set(numbers)
    if len(every) > 20:
        assert {trial.number for trial in every[-15:]} <= set(numbers)
        assert len(numbers) <= 20
    else:
        assert modelled == every


def test_a_long_study_still_finds_its_best(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("search.samplers.tpe.MODELLED", 60)
    study = optuna.create_study(direction="maximize", sampler=TPESampler(seed=1, n_startup_trials=10))
    study.optimize(lambda trial: -abs(math.log(trial.suggest_float("rate", 1e-4, 0.1, log=True) / 0.01)), n_trials=150)
    assert study.best_params["rate"] == pytest.approx(0.01, rel=0.05)
