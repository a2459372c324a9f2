import datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from fmnist.config import TrialConfig
from fmnist.refusals import listed, refusals, shown
from fmnist.suggestions import did_you_mean, nearest


def nested(levels: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(levels):
        value = {"a": value}
    return value


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (True, "true"),
        (None, "null"),
        (0.5, "0.5"),
        ("it's", '"it\'s"'),
        ("a\x1b[31m\u202eb\n", r"'a\x1b[31m\u202eb\n'"),
        ("x" * 1000, f"'{'x' * 79}…"),
        (16**5000, "a number of about 6000 digits"),
        (datetime.date(2024, 1, 2), "the date or time 2024-01-02"),
        ({"a b": [1, True, [2, [3]]]}, "{'a b' = [1, true, […]]}"),
        (nested(100_000), "{a = {a = {…}}}"),
        (list(range(1000)), "[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, …]"),
    ],
    ids=[str(i) for i in range(11)],
)
def test_any_value_is_shown_on_one_short_line(value: object, text: str) -> None:
    assert shown(value) == text


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@pytest.mark.slow
@given(st.dictionaries(st.sampled_from(list(TrialConfig.model_fields)) | st.text(), json_values, min_size=1))
@settings(max_examples=100, deadline=None)
def test_every_refused_value_has_one_printable_line(values: dict[str, Any]) -> None:
    lines: list[str] = []
    errors = 0
    try:
        TrialConfig.model_validate(values)
    except ValidationError as error:
        lines, errors = refusals(error, TrialConfig, noun="knob"), error.error_count()
    assert len(lines) == errors
    assert all(
        line.isprintable() and len(line) < 600 and (" must be " in line or "unknown knob" in line) for line in lines
    )


def test_long_lists_are_truncated() -> None:
    assert listed(["a", "b"]) == "a\nb"
    assert listed([str(i) for i in range(100)]).splitlines()[-2:] == ["39", "... and 60 more errors."]


def test_the_nearest_name_ignores_case_and_long_names() -> None:
    assert nearest("TPE", ["gp", "tpe"]) == "tpe"
    assert nearest("x" * 10**6, ["gp", "tpe"]) is None
    assert did_you_mean("Dropuot", ["dropout", "l2"]) == "Did you mean 'dropout'?"
    assert did_you_mean("?", ["dropout", "l2"]) == "Valid: dropout, l2."
