"""Studies that plain Optuna made, with values and names of their own, in reports and lists."""

import json
import math
from pathlib import Path
from typing import Literal

import optuna
import pytest

from search.report.page.html import read_facts, to_html
from search.storage.opening import open_storage
from search.study.study import load_study
from tests.search.report.lists.listed import STORAGE
from tests.search.tiny import Say

OTHER = "other"


@pytest.fixture
def here(say: Say) -> Say:
    """The command, in a folder with a storage."""
    Path("studies").mkdir()
    return say


def made(direction: Literal["maximize", "minimize"] = "maximize") -> optuna.Study:
    return optuna.create_study(study_name=OTHER, storage=STORAGE, direction=direction)


def test_a_study_that_minimizes_has_no_report(here: Say) -> None:
    made("minimize").optimize(lambda trial: trial.suggest_float("x", 0, 5), n_trials=2)
    for command in (("report", OTHER), ("best", OTHER)):
        code, _, errors = here(*command)
        assert code == 2
        assert "one objective, which is maximized, got minimize in 'other'" in errors
    assert here("status")[0] == here("trials", OTHER)[0] == 0


def test_a_value_that_is_not_finite_is_drawn_as_none(here: Say) -> None:
    study = made()

    def objective(trial: optuna.Trial) -> float:
        trial.suggest_float("x", 0, 1)
        trial.report(math.inf, 1)
        return math.inf if trial.number == 1 else 0.5 + 0.1 * trial.number

    study.optimize(objective, n_trials=4)
    loaded = load_study(open_storage(STORAGE, create=False), OTHER)
    assert "<html" in to_html(read_facts(loaded))


def test_conditions_follow_the_values_that_are_there(here: Say) -> None:
    study = made()
    for optimizer, dropout in (("Adam", "low"), ("SGD", "high"), ("SGD", "low")):
        kinds = optuna.distributions.CategoricalDistribution
        study.add_trial(
            optuna.trial.create_trial(
                params={"optimizer": optimizer, "dropout": dropout},
                distributions={"optimizer": kinds(["Adam", "SGD"]), "dropout": kinds(["low", "high"])},
                value=0.5,
                intermediate_values={0: 0.4, 1: 0.5},
            )
        )
    code, output, errors = here("trials", OTHER, "--where", "optimizer=SGD", "--where", "dropout=low", "--json")
    assert code == 0, errors
    assert [row["number"] for row in json.loads(output)] == [2]
    code, _, errors = here("trials", OTHER, "--where", "dropout<0.3")
    assert code == 2
    assert "dropout holds words" in errors
    code, output, _ = here("show", OTHER, "0", "--json")
    assert [point["macro_f1"] for point in json.loads(output)["curve"]] == [0.4, 0.5]
