import json
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from fmnist.config import TrialConfig, knobs
from fmnist.errors import FmnistError
from fmnist.knobs import Choice, Knob, Range, Scalar
from fmnist.refusals import shown

FAST = settings(max_examples=100, deadline=None)


def parse(**values: Any) -> TrialConfig:
    return TrialConfig.parse(values, context="my.toml")


def bounds_or_options(knob: Knob) -> Iterable[Scalar]:
    return knob.options if isinstance(knob, Choice) else (knob.low, knob.high)


def within(knob: Knob) -> st.SearchStrategy[Scalar]:
    match knob:
        case Choice(options):
            return st.sampled_from(options)
        case Range(int() as low, int() as high, step=step):
            return st.sampled_from(range(low, high + 1, int(step or 1)))
        case Range(low, high):
            return st.floats(low, high)


def points() -> st.SearchStrategy[TrialConfig]:
    """Points of the search space."""
    return st.fixed_dictionaries({name: within(knob) for name, knob in knobs().items()}).map(TrialConfig.model_validate)


def test_missing_fields_get_their_defaults() -> None:
    assert parse() == TrialConfig()
    assert parse(depth=3) == TrialConfig(depth=3)


def test_all_errors_are_reported_at_once_each_with_where_field_rule_and_value() -> None:
    with pytest.raises(FmnistError) as caught:
        parse(depth=9, head="mean", dropout=-0.5, learning_rat=0.1)
    assert str(caught.value).splitlines() == [
        "my.toml: depth must be a whole number from 1 to 4, got 9.",
        "my.toml: head must be 'flatten', 'max' or 'avg', got 'mean'.",
        "my.toml: dropout must be a number, at least 0 and below 1, got -0.5.",
        "my.toml: unknown knob 'learning_rat'. Did you mean 'learning_rate'?",
    ]


def test_an_unknown_name_without_a_similar_one_gets_the_list_of_names() -> None:
    with pytest.raises(FmnistError, match="unknown knob 'zzz'") as caught:
        parse(zzz=1)
    assert all(name in str(caught.value) for name in TrialConfig.model_fields)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("depth", "3"),
        ("depth", 3.0),
        ("depth", True),
        ("epochs", None),
        ("kernel_size", 4),
        ("kernel_size", "3"),
        ("batch_norm", 1),
        ("batch_norm", "true"),
        ("dropout", "0.1"),
        ("dropout", True),
        ("dropout", 1.0),
        ("l2", float("inf")),
        ("learning_rate", 0),
        ("learning_rate", float("nan")),
        ("activation", "ReLU"),
        ("optimizer", ["adam"]),
    ],
)
def test_a_value_of_the_wrong_type_or_size_is_refused(field: str, value: Any) -> None:
    with pytest.raises(FmnistError) as caught:
        parse(**{field: value})
    message = str(caught.value)
    assert message.startswith(f"my.toml: {field} must be ")
    assert f", got {shown(value)}." in message
    assert "\n" not in message


def test_a_float_field_accepts_an_integer() -> None:
    config = parse(dropout=0, growth=2, learning_rate=1)
    assert (config.dropout, config.growth, config.learning_rate) == (0.0, 2.0, 1.0)
    assert isinstance(config.dropout, float)


def test_a_configuration_cannot_be_changed() -> None:
    config = TrialConfig()
    with pytest.raises(ValidationError, match="frozen"):
        config.depth = 3  # type: ignore[misc]
    assert config.depth == 2


@pytest.mark.parametrize(
    ("epochs", "share", "count"), [(1, 0.6, 0), (2, 0.76, 1), (10, 0.96, 9), (10, 0.5, 5), (4, 0.0, 0)]
)
def test_the_last_epoch_is_always_at_full_size(epochs: int, share: float, count: int) -> None:
    assert TrialConfig(epochs=epochs, small_epochs=share).small_count == count


def test_widths_by_hand() -> None:
    assert TrialConfig(depth=3, filters=32, growth=2.0).widths == (32, 64, 128)
    assert TrialConfig(depth=4, filters=16, growth=1.3).widths == (16, 24, 24, 32)
    assert TrialConfig(depth=3, filters=5, growth=1.0).widths == (5, 8, 8)
    assert TrialConfig(depth=1, filters=17, growth=4.0).widths == (17,)


@given(st.integers(1, 4), st.integers(4, 512), st.floats(1, 4))
@FAST
def test_widths_are_the_nearest_multiples_of_eight(depth: int, filters: int, growth: float) -> None:
    first, *later = TrialConfig(depth=depth, filters=filters, growth=growth).widths
    assert first == filters
    assert len(later) == depth - 1
    for index, width in enumerate(later, start=1):
        assert width % 8 == 0
        assert abs(width - max(8.0, filters * growth**index)) <= 4


@pytest.mark.parametrize("name", knobs())
def test_the_bounds_and_options_of_a_knob_are_valid(name: str) -> None:
    for value in bounds_or_options(knobs()[name]):
        assert getattr(parse(**{name: value}), name) == value


@pytest.mark.parametrize(("name", "knob"), [(name, knob) for name, knob in knobs().items() if isinstance(knob, Range)])
def test_a_range_is_ascending_and_its_steps_reach_the_upper_bound(name: str, knob: Range) -> None:
    assert knob.low < knob.high
    assert not (knob.log and knob.low <= 0)
    assert knob.step is None or (knob.high - knob.low) % knob.step == 0


@pytest.mark.parametrize(("name", "knob"), [(name, knob) for name, knob in knobs().items() if isinstance(knob, Choice)])
def test_a_choice_has_distinct_options(name: str, knob: Choice) -> None:
    assert len(knob.options) >= 2
    assert len(set(knob.options)) == len(knob.options)


@pytest.mark.parametrize("name", TrialConfig.model_fields)
def test_every_field_has_a_description(name: str) -> None:
    assert TrialConfig.model_fields[name].description


@given(points())
@FAST
def test_json_round_trip(config: TrialConfig) -> None:
    assert TrialConfig.model_validate_json(config.model_dump_json()) == config
    assert parse(**json.loads(json.dumps(config.model_dump(mode="json")))) == config
