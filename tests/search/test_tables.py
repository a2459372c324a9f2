import optuna
import pytest

from search.records import Confirmation
from search.report import headline, read_report
from search.tables import short_names, tables
from tests.search.sample import candidate, cells, finished_study, remember, terminal, trial


@pytest.fixture
def study() -> optuna.Study:
    return optuna.create_study(study_name="quick", direction="maximize")


@pytest.fixture
def finished() -> optuna.Study:
    return finished_study()


def test_optimism_is_about_the_search_best_trial_not_the_winner(finished: optuna.Study) -> None:
    report = read_report(finished)
    assert report.winner == 2
    assert report.optimism is not None
    assert report.optimism.trial == 1
    assert report.optimism.difference == pytest.approx(0.935 - 0.926)
    assert list(cells(finished, "Confirmed")) == ["2", "1"]
    assert "Optimism +0.0090" in terminal(finished, 400)


def test_a_confirmation_under_way(study: optuna.Study) -> None:
    remember(study, confirmation=Confirmation(candidates=(candidate(4, 0.93), candidate(5, 0.92, 0.91))))
    assert cells(study, "Confirmed") == {"5": ("0.9200", "1", "0.9100", "-"), "4": ("0.9300", "0", "-", "-")}
    assert read_report(study).optimism is None
    assert "No winner before every candidate has its seeds" in terminal(study)


def test_a_study_without_fresh_seeds_says_so(study: optuna.Study) -> None:
    study.add_trial(trial(0.91))
    remember(study, confirmation=Confirmation(candidates=(candidate(0, 0.91),), winner=0))
    assert "the study plans no fresh seeds, and trial 0 is the best of the search" in terminal(study, 200)
    assert "trial 0, validation macro F1 0.9100, not confirmed" in headline(read_report(study))


def test_best_trials_stand_side_by_side(finished: optuna.Study) -> None:
    found = cells(finished, "Best trials")
    assert found["macro F1"] == ("0.9350", "0.9300", "0.9200", "0.9150", "0.9100")
    assert found["depth"] == ("3", "4", "3", "4", "2")
    assert found["learning_rate"] == ("0.00123",) * 5
    assert found["parameters"] == ("105,674",) * 5


def test_states_count_reasons(finished: optuna.Study) -> None:
    assert cells(finished, "Trials") == {
        "complete": ("6", ""),
        "pruned": ("3", "below the median | epoch 4 (2); diverged (1)"),
        "failed": ("1", "out of memory (1)"),
    }
    assert "The study's plan: search trials=10, sampler=tpe; confirm top=2." in terminal(finished)


def test_importances_find_the_one_knob_that_varies(finished: optuna.Study) -> None:
    assert read_report(finished).importances.shares == pytest.approx({"depth": 1.0, "learning_rate": 0.0, "head": 0.0})


@pytest.mark.parametrize(
    ("values", "depths", "why"),
    [
        ((), (), "0 complete of the 4"),
        ((0.1, 0.2, 0.3), (2, 3, 4), "3 complete of the 4"),
        ((0.5,) * 4, (2, 3, 4, 2), "scored the same"),
        ((0.1, 0.2, 0.3, 0.4), (2,) * 4, "no knob varies"),
    ],
)
def test_why_importances_are_absent(study: optuna.Study, values: tuple[float, ...], depths: tuple[int, ...], why: str) -> None:
    study.add_trials([trial(value, depth=depth) for value, depth in zip(values, depths, strict=True)])
    assert why in str(read_report(study).importances.absent)
    assert why in terminal(study, 200)


def test_the_confusion_marks_the_diagonal_and_the_worst(finished: optuna.Study) -> None:
    (table,) = [table for table in tables(read_report(finished)) if table.title.startswith("Confusion")]
    assert table.columns == ("true", "T-sh", "Trou", "Pull", "Dres", "Coat", "Sand", "Shir", "Snea", "Bag", "Ankl")
    assert {cell for cell, mark in table.marks.items() if mark == "alarm"} == {(6, 1), (4, 3), (0, 7)}
    assert {cell for cell, mark in table.marks.items() if mark == "strong"} == {(i, i + 1) for i in range(10)}
    assert "Shirt taken for T-shirt/top (102)" in table.caption


def test_short_names_tell_classes_apart() -> None:
    assert short_names(["Shirt", "Shirts", "Bag"]) == ["Shirt", "Shirts", "Bag"]
    assert short_names(["class one", "class two"]) == ["0", "1"]
