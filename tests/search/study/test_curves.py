"""The curves of the trainings after the search, as a study keeps them."""

import json

import optuna
import pytest

from fmnist.curve import CurvePoint
from search.study.curves import curve_in, note_curve
from search.study.study import Study

MYSQL = 65_535  # bytes of one attribute


@pytest.mark.parametrize(("epochs", "kept"), [(1, 1), (300, 300), (301, 151), (1000, 250)])
def test_a_long_curve_fits_an_attribute_and_ends_with_the_last_epoch(epochs: int, kept: int) -> None:
    study = Study(optuna.create_study())
    value = 0.12345678901234567
    points = [CurvePoint(number, value, value, value, value, 1000 * value) for number in range(1, epochs + 1)]
    note_curve(study, "final", "seed 2000", points)
    assert max(len(json.dumps(attribute)) for attribute in study.attributes.values()) < MYSQL
    curve = curve_in(study.attributes, "seed 2000")
    assert curve is not None
    assert len(curve.points) == kept
    assert curve.points[-1] == points[-1]
