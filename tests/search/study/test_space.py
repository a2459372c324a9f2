import math
from typing import Any

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from fmnist.config import TrialConfig, knobs
from fmnist.errors import FmnistError
from fmnist.knobs import Choice, Range
from search.errors import SearchError
from search.study.space import Space, distribution, read_space


def space(**entries: Any) -> Space:
    return read_space(entries, search_unlisted=False, context="mine.toml")


def refusal(**entries: Any) -> str:
    with pytest.raises(FmnistError) as caught:
        space(**entries)
    return str(caught.value)


def test_a_value_pins() -> None:
    found = space(depth=3, growth=2, head="max")
    assert found.pinned == {"depth": 3, "growth": 2.0, "head": "max"}
    assert not found.knobs


def test_a_list_narrows_to_its_values() -> None:
    found = space(depth=[4, 3], batch_norm=[True])
    assert found.knobs == {"depth": Choice((4, 3)), "batch_norm": Choice((True,))}
    assert found.distributions() == {
        "depth": CategoricalDistribution((4, 3)),
        "batch_norm": CategoricalDistribution((True,)),
    }


@pytest.mark.parametrize(
    ("knob", "entry", "expected"),
    [
        ("dropout", {"low": 0, "high": 0.5}, FloatDistribution(0.0, 0.5)),
        ("dropout", {"low": 0.0, "high": 0.6, "step": 0.2}, FloatDistribution(0.0, 0.6, step=0.2)),
        ("l2", {"low": 1e-5, "high": 0.1, "log": True}, FloatDistribution(1e-5, 0.1, log=True)),
        ("growth", {"low": 1, "high": 2}, FloatDistribution(1.0, 2.0)),
        ("growth", {"low": 1, "high": 3, "step": 1}, FloatDistribution(1.0, 3.0, step=1.0)),
        ("depth", {"low": 2, "high": 4}, IntDistribution(2, 4)),
        ("filters", {"low": 8, "high": 64, "step": 8}, IntDistribution(8, 64, step=8)),
        ("filters", {"low": 8, "high": 64, "log": True}, IntDistribution(8, 64, log=True)),
    ],
)
def test_a_range_narrows_to_integers_or_floats_as_the_knob_is(
    knob: str, entry: dict[str, Any], expected: object
) -> None:
    assert space(**{knob: entry}).distributions() == {knob: expected}


def test_search_takes_all_that_the_knob_declares() -> None:
    assert space(growth="search", head="search").knobs == {"growth": knobs()["growth"], "head": knobs()["head"]}


def test_unlisted_knobs_keep_their_defaults_or_are_searched() -> None:
    assert space(depth=3).knobs == {}
    found = read_space({"depth": 3, "filters": [8, 16]}, search_unlisted=True, context="mine.toml")
    assert set(found.knobs) == set(knobs()) - {"depth"}
    assert found.knobs["filters"] == Choice((8, 16))
    assert list(found.knobs) == [name for name in knobs() if name != "depth"]  # as declared, however listed


@pytest.mark.parametrize(
    ("knob", "entry", "says"),
    [
        ("dropout", {"low": 0.0, "high": 1.0}, "dropout.high must be a number, at least 0 and below 1, got 1.0"),
        ("depth", {"low": 0, "high": 4}, "depth.low must be a whole number from 1 to 4, got 0"),
        ("depth", {"low": 2.0, "high": 4}, "depth.low must be a whole number from 1 to 4, got 2.0"),
        ("depth", [2, 5], "depth entry 2 must be a whole number from 1 to 4, got 5"),
        ("head", ["max", "mean"], "head entry 2 must be 'flatten', 'max' or 'avg', got 'mean'"),
        ("head", {"low": 1, "high": 2}, "only numbers have a range"),
        ("batch_norm", {"low": False, "high": True}, "only numbers have a range"),
        ("dropout", {"low": False, "high": 0.5}, "got false"),
        ("dropout", {"low": 0.1}, "must have low and high"),
        ("dropout", {"low": 0.1, "high": 0.2, "setp": 0.1, "sort": 1}, "unknown 'setp'. Did you mean 'step'?"),
        ("dropout", {"low": 0.2, "high": 0.1}, "low must be below high, got 0.2 and high 0.1"),
        ("dropout", {"low": 0.2, "high": 0.2}, "low must be below high, got 0.2 and high 0.2"),
        ("dropout", {"low": 0.0, "high": 0.5, "log": True}, "above 0 with log"),
        ("dropout", {"low": 0.1, "high": 0.5, "log": "yes"}, "log must be true or false"),
        ("dropout", {"low": 0.0, "high": 0.5, "step": 0.2}, "whole number of steps"),
        ("l2", {"low": 0.1, "high": 0.5, "log": True, "step": 0.1}, "without log"),
        ("dropout", {"low": 0.0, "high": 0.5, "step": math.nan}, "step must be"),
        ("dropout", {"low": 0.0, "high": 0.5, "step": math.inf}, "step must be"),
        ("dropout", {"low": 0.0, "high": 0.5, "step": 1e-320}, "at most 10,000"),
        ("dropout", {"low": 0.0, "high": 0.5, "step": 0}, "step must be"),
        (
            "dropout",
            {"low": 0.3, "high": 0.5, "step": 0.4},
            "step must be a positive number, at most high - low, got 0.4",
        ),
        ("augmentation", {"low": 0.2, "high": 0.3, "step": 0.1001}, "at most high - low"),
        ("l2", {"low": 0.0, "high": 0.50005, "step": 0.00005}, "at most 10,000, got 5e-05"),
        ("filters", {"low": 8, "high": 16, "step": 1.6}, "step must be a positive whole number"),
        ("filters", {"low": 8, "high": 16, "step": 0.5}, "step must be a positive whole number"),
        ("depth", [], "at least one value"),
        ("depth", [2, 2], "only once"),
        ("depth", [[2]], "got [2]"),
        ("epochs", [2, 3], "cannot be searched"),
        ("epochs", "search", "cannot be searched"),
        ("dropout", "serach", "Did you mean 'search'?"),
        ("head", "mx", "Did you mean 'max'?"),
        ("dropout", "0.1", "Write it without quotes."),
        ("dropuot", 0.1, "Did you mean 'dropout'"),
        ("dropuot", [0.1], "unknown knob 'dropuot'. Did you mean 'dropout'?"),
        ("dropuot", {"low": 0.1, "high": 0.2}, "unknown knob 'dropuot'. Did you mean 'dropout'?"),
    ],
)
def test_what_a_field_could_not_hold_is_refused(knob: str, entry: Any, says: str) -> None:
    message = refusal(**{knob: entry})
    assert message.startswith("mine.toml: ")
    assert knob in message
    assert says in message


def test_search_is_no_hint_where_nothing_like_it_was_written() -> None:
    assert "search" not in refusal(depth=9, head="mx", dropout=[0.1, 2.0])


def test_every_wrong_entry_is_named() -> None:
    assert (
        len(
            refusal(
                depth=9, head="mean", dropout={"low": 0.1}, l2={"low": "a", "high": 2}, growth=[0, 9, 2]
            ).splitlines()
        )
        == 7
    )


@pytest.mark.parametrize("name", knobs())
def test_what_a_knob_declares_is_valid_and_known_to_optuna(name: str) -> None:
    knob = knobs()[name]
    ends = knob.options if isinstance(knob, Choice) else (knob.low, knob.high)
    assert all(getattr(TrialConfig.parse({name: end}, context=name), name) == end for end in ends)
    assert all(distribution(knob)._contains(distribution(knob).to_internal_repr(end)) for end in ends)
    if isinstance(knob, Range):
        assert isinstance(knob.low, int) == (TrialConfig.model_fields[name].annotation is int)


@pytest.mark.parametrize(
    "sampler", [optuna.samplers.RandomSampler(seed=0), optuna.samplers.TPESampler(seed=0, n_startup_trials=5)]
)
def test_suggestions_over_all_knobs_are_valid_configurations(sampler: optuna.samplers.BaseSampler) -> None:
    everything = read_space({}, search_unlisted=True, context="mine.toml")
    study = optuna.create_study(sampler=sampler, direction="maximize")
    for _ in range(40):
        trial = study.ask()
        config = everything.suggest(trial)
        assert trial.params == {name: getattr(config, name) for name in knobs()}
        study.tell(trial, config.learning_rate)


ENTRIES: dict[str, Any] = {
    "depth": {"low": 2, "high": 4},
    "filters": {"low": 8, "high": 64, "log": True},
    "hidden": {"low": 0, "high": 128, "step": 32},
    "growth": {"low": 1, "high": 3},
    "l2": {"low": 1e-5, "high": 0.1, "log": True},
    "augmentation": {"low": 0.1, "high": 0.9, "step": 0.2},
    "head": ["max", "avg"],
}


def test_a_trial_is_asked_for_just_the_distributions_that_the_space_has() -> None:
    searched = space(**ENTRIES)
    trial = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0)).ask()
    searched.suggest(trial)
    assert trial.distributions == searched.distributions()


def test_what_a_trial_holds_is_what_is_trained() -> None:
    chosen: dict[str, Any] = {
        "depth": 4,
        "filters": 37,
        "hidden": 96,
        "growth": 1.7,
        "l2": 0.003,
        "augmentation": 0.7,
        "head": "avg",
    }
    study = optuna.create_study()
    study.enqueue_trial(chosen)
    assert space(**ENTRIES, dropout=0.2).suggest(study.ask()) == TrialConfig(**chosen, dropout=0.2)


def test_the_same_trial_suggests_the_same_configuration_again() -> None:
    trial = optuna.create_study().ask()
    everything = read_space({}, search_unlisted=True, context="mine.toml")
    assert everything.suggest(trial) == everything.suggest(trial)


@given(st.integers(4, 200), st.integers(1, 200), st.integers(1, 20), st.integers(0, 2**31 - 1))
@settings(max_examples=40, deadline=None)
def test_suggestions_stay_on_the_steps_of_their_range(low: int, span: int, step: int, seed: int) -> None:
    stepped = space(
        filters={"low": low, "high": low + span * step, "step": step} if low + span * step <= 512 else [low]
    )
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    config = stepped.suggest(study.ask())
    assert (config.filters - low) % step == 0
    assert config.filters in stepped.grid()["filters"]


@pytest.mark.parametrize(
    ("entry", "values"),
    [
        ({"low": 0.0, "high": 0.3, "step": 0.1}, [0.0, 0.1, 0.2, 0.3]),
        ({"low": 0.1, "high": 0.3, "step": 0.2}, [0.1, 0.3]),  # 0.3 - 0.1 is below 0.2
        ({"low": 0.2, "high": 0.3, "step": 0.1}, [0.2, 0.3]),
        (
            {"low": 0.09, "high": 1.0, "step": 0.07},
            [0.09, 0.16, 0.23, 0.3, 0.37, 0.44, 0.51, 0.58, 0.65, 0.72, 0.79, 0.86, 0.93, 1.0],
        ),
    ],
)
def test_steps_of_a_range_are_the_numbers_that_a_person_would_write(
    entry: dict[str, float], values: list[float]
) -> None:
    stepped = space(augmentation=entry)
    assert stepped.grid()["augmentation"] == values
    for sampler in (optuna.samplers.GridSampler(stepped.grid()), optuna.samplers.RandomSampler(seed=0)):
        study = optuna.create_study(sampler=sampler)
        assert {stepped.suggest(study.ask()).augmentation for _ in range(5 * len(values))} <= set(values)


@pytest.mark.parametrize(
    ("low", "high", "step"), [(0.0, 0.5, 0.00005), (0.3, 0.4, 0.00001)]
)  # the latter's quotient is above 10,000
def test_a_range_may_have_10_000_steps(low: float, high: float, step: float) -> None:
    values = space(augmentation={"low": low, "high": high, "step": step}).grid()["augmentation"]
    assert (len(values), values[0], values[-1]) == (10_001, low, high)


def test_whole_numbers_have_steps_of_one_where_nothing_else_is_said() -> None:
    assert space(depth={"low": 2, "high": 4}, growth={"low": 1, "high": 3, "step": 1}).grid() == {
        "depth": [2, 3, 4],
        "growth": [1.0, 2.0, 3.0],
    }


def test_points_of_a_space() -> None:
    assert space(depth=3).points == 1
    assert space(depth=[2, 3], batch_norm="search", filters={"low": 8, "high": 32, "step": 8}).points == 2 * 2 * 4
    assert space(dropout={"low": 0.0, "high": 0.6, "step": 0.2}).points == 4
    assert space(depth=[2, 3], dropout="search").points == math.inf


def test_a_grid_has_every_value_of_every_searched_knob() -> None:
    grid = space(depth=[2, 3], dropout={"low": 0.0, "high": 0.6, "step": 0.2}, head="max").grid()
    assert grid["depth"] == [2, 3]
    assert grid["dropout"] == pytest.approx([0.0, 0.2, 0.4, 0.6])
    assert set(grid) == {"depth", "dropout"}


def test_a_grid_that_would_fill_the_memory_is_refused() -> None:
    fine = {"low": 0.0, "high": 0.5, "step": 0.0001}
    with pytest.raises(SearchError, match="at most 100,000 points, got 125,075,015,001"):
        space(dropout=fine, l2=fine, label_smoothing=fine).grid()


def test_a_grid_may_have_100_000_points() -> None:
    hundred, thousand = {"low": 0.0, "high": 0.099, "step": 0.001}, {"low": 0.0, "high": 0.999, "step": 0.001}
    grid = space(dropout=hundred, l2=thousand).grid()
    assert (len(grid["dropout"]), len(grid["l2"])) == (100, 1000)


def test_a_continuous_knob_has_no_grid() -> None:
    with pytest.raises(SearchError, match=r"without one: dropout, l2\. Write for example dropout = \["):
        space(depth=[2, 3], l2="search", dropout="search").grid()
