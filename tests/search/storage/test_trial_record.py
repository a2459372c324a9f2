"""The attributes of a trial: short where optuna-dashboard shows them, whole where they are read, of all versions."""

import json
from dataclasses import asdict

import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState, create_trial

from fmnist.curve import CurvePoint
from search.storage.foreign import is_foreign
from search.storage.trial_record import (
    CONFIG,
    CURVE,
    LINE,
    LONG,
    OUTSIDE,
    TrialRecord,
    note_end,
    note_pause,
    note_reason,
    note_start,
    text_attributes,
)

KNOBS = {"depth": 2, "filters": 32, "activation": "relu"}
POINTS = (CurvePoint(1, 1.5, 1.4, 0.5, 0.6, 2.0), CurvePoint(2, 1.0, 1.1, 0.7, 0.7, 4.0))
TEXT = "RuntimeError: " + "the size of tensor a must match the size of tensor b, " * 4


def ended(reason: str | None = None) -> FrozenTrial:
    study = optuna.create_study()
    trial = study.ask()
    note_start(trial, config=KNOBS, seed=7, parameters=100, flops=2000)
    note_end(trial, POINTS, reason)
    study.tell(trial, state=TrialState.PRUNED)
    return study.trials[0]


def test_what_was_noted_is_read() -> None:
    record = TrialRecord(ended("diverged"))
    assert record.began
    assert (record.config, record.curve, record.seconds, record.seed) == (KNOBS, POINTS, 4.0, 7)
    assert (record.parameters, record.flops, record.reason) == (100, 2000, "diverged")


def test_user_attributes_are_short_and_none_is_a_list_or_table() -> None:
    attributes = ended(TEXT).user_attrs
    assert attributes.keys() == {"parameters", "flops", "seed", "seconds", "reason"}
    assert all(isinstance(value, int | float | str) for value in attributes.values())
    assert len(attributes["reason"]) <= LINE
    assert attributes["reason"].endswith("…")


@pytest.mark.parametrize("reason", [TEXT, "x" * 1000, "two\nlines", "short"])
def test_a_reason_is_read_whole(reason: str) -> None:
    assert TrialRecord(ended(reason)).reason == reason
    assert "\n" not in ended(reason).user_attrs["reason"]


def test_a_later_short_reason_replaces_a_long_one() -> None:
    study = optuna.create_study()
    trial = study.ask()
    note_reason(trial, TEXT)
    note_reason(trial, "short")
    assert TrialRecord(study.trials[0]).reason == "short"


def test_a_trial_of_an_earlier_version_is_read() -> None:
    attributes = {"config": KNOBS, "curve": [asdict(point) for point in POINTS], "seconds": 4.0, "reason": TEXT}
    trial = create_trial(state=TrialState.PRUNED, user_attrs=attributes)
    record = TrialRecord(trial)
    assert record.began
    assert not is_foreign(trial)
    assert (record.config, record.curve, record.reason) == (KNOBS, POINTS, TEXT)


def test_a_trial_that_an_earlier_version_paused_has_the_newer_curve() -> None:
    study = optuna.create_study()
    study.enqueue_trial({}, user_attrs={"config": KNOBS, "curve": [asdict(POINTS[0])], "seed": 1})
    note_pause(study.ask(), POINTS, "others promise more")
    record = TrialRecord(study.trials[0])
    assert (record.config, record.curve, record.pause) == (KNOBS, POINTS, "others promise more")


def test_a_trial_without_a_configuration_is_of_another_program() -> None:
    other = create_trial(value=0.5, system_attrs={CURVE: []}, user_attrs={"seed": 1})
    assert is_foreign(other)
    assert not TrialRecord(other).began
    assert not is_foreign(create_trial(value=0.5, system_attrs={CONFIG: {}}))


def test_the_attributes_of_a_text() -> None:
    assert text_attributes(OUTSIDE, "filters must be 4") == {OUTSIDE: "filters must be 4"}
    assert text_attributes(OUTSIDE, TEXT)[LONG + OUTSIDE] == TEXT


def test_a_long_curve_fits_a_cell_of_mysql_and_ends_with_the_last_epoch() -> None:
    study = optuna.create_study()
    trial = study.ask()
    note_end(trial, [CurvePoint(number, 1 / 3, 1 / 3, 1 / 3, 1 / 3, number / 3) for number in range(1, 1001)], None)
    curve = TrialRecord(study.trials[0]).curve
    assert len(json.dumps(study.trials[0].system_attrs[CURVE])) < 2**16
    assert len(curve) == 250
    assert curve[-1].number == 1000
