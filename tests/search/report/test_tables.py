import io
from collections import Counter
from itertools import chain

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.trial import TrialState
from rich.console import Console

from fmnist.config import TrialConfig
from search.report.confusion import short_names
from search.report.render import fitted, headline, print_table, read_report
from search.report.tables import tables
from search.study.limits import constraints_of
from search.study.records import ClassScore, Confirmation, Final
from search.study.sections import LimitsSection
from search.study.study import Study
from search.terminal.table import Table
from tests.search.sample import (
    candidate,
    caught,
    cells,
    cleaned,
    data,
    final,
    finished_study,
    remember,
    terminal,
    trial,
    whole_study,
)


@pytest.fixture
def study() -> Study:
    return Study(optuna.create_study(study_name="quick", direction="maximize"))


@pytest.fixture
def finished() -> Study:
    return finished_study()


def test_every_table_of_a_report_has_a_unique_id(study: Study) -> None:
    ids = [table.id for table in tables(read_report(whole_study()))]
    assert len(ids) == len(set(ids))
    assert ids == [
        "knobs", "final", "classes", "confusion", "confirmed", "ablation", "best",
        "importances", "states", "timing", "cleaning", "environment", "openings",
    ]  # fmt: skip
    assert {table.id for table in tables(read_report(study))} == {"knobs", "best", "importances", "states", "openings"}


def test_optimism_is_of_the_search_best_trial_not_the_winner(finished: Study) -> None:
    report = read_report(finished)
    assert report.winner == 2
    assert report.optimism is not None
    assert report.optimism.trial == 1
    assert report.optimism.difference == pytest.approx(0.935 - 0.926)
    assert list(cells(finished, "confirmed")) == ["2", "1"]
    assert "Optimism +0.0090" in terminal(finished, 400)


def test_an_unfinished_confirmation(study: Study) -> None:
    remember(study, confirmation=Confirmation(candidates=(candidate(4, 0.93), candidate(5, 0.92, 0.91))))
    assert cells(study, "confirmed") == {"5": ("0.9200", "1", "0.9100", "-"), "4": ("0.9300", "0", "-", "-")}
    assert read_report(study).optimism is None
    assert "No winner before every candidate has its seeds" in terminal(study)


def test_a_study_without_fresh_seeds_says_so(study: Study) -> None:
    study.optuna.add_trial(trial(0.91))
    remember(study, confirmation=Confirmation(candidates=(candidate(0, 0.91),), winner=0))
    assert "the study plans no fresh seeds, and the best trial, 0, is the winner" in terminal(study, 200)
    assert "trial 0, validation macro F1 0.9100, not confirmed" in headline(read_report(study))


def test_best_trials_are_side_by_side(finished: Study) -> None:
    rows = cells(finished, "best")
    assert rows["macro F1"] == ("0.9350", "0.9300", "0.9200", "0.9150", "0.9100")
    assert rows["depth"] == ("3", "4", "3", "4", "2")
    assert rows["learning_rate"] == ("0.00123",) * 5
    assert rows["parameters"] == ("105,674",) * 5


def test_states_count_reasons(finished: Study) -> None:
    assert cells(finished, "states") == {
        "complete": ("6", ""),
        "pruned": ("3", "below the median | epoch 4 (2); diverged (1)"),
        "failed": ("1", "out of memory (1)"),
    }
    assert "The study's plan: search trials=10, sampler=tpe; confirm top=2." in terminal(finished)


def test_refusals_are_counted_by_limit_apart_from_pruned_trials(finished: Study) -> None:
    finished.optuna.set_user_attr(
        "spec", {"limits": {"max_params": 300_000, "max_size": 1_200_000, "max_latency_ms": 2.0}}
    )
    sizes = [{"max_params": size / 300_000 - 1, "max_size": -0.1} for size in range(300_001, 300_007)]
    for over in (*sizes, {"max_size": 0.4, "max_params": 0.4}, {"max_params": -0.5, "max_latency_ms": 3.5}):
        finished.optuna.add_trial(
            trial(None, TrialState.PRUNED, over=over, reason="a sentence that is not parsed", refused=True)
        )
    finished.optuna.add_trial(trial(0.5, TrialState.PRUNED, reason="loss 5, over 4; and so on"))
    rows = cells(finished, "states")
    assert rows["pruned"] == ("4", "below the median | epoch 4 (2); diverged (1); loss 5, over 4; and so on (1)")
    assert rows["refused"] == (
        "8",
        "over max_params 300,000 (6); over max_params 300,000 and max_size 1,200,000 (1); over max_latency_ms 2 (1)",
    )


def test_refusals_of_the_limits_are_counted_by_limit(study: Study) -> None:
    limits = LimitsSection(max_params=1000, max_size=90)
    study.optuna.set_user_attr("spec", {"limits": limits.model_dump()})
    study.optuna.add_trial(trial(None, TrialState.PRUNED, over=constraints_of(limits, TrialConfig(), 10), refused=True))
    assert cells(study, "states") == {"refused": ("1", "over max_params 1,000 and max_size 90 (1)")}


def test_refusals_of_another_program_name_the_limits_they_have(study: Study) -> None:
    study.optuna.add_trials(
        [trial(None, TrialState.PRUNED, over=over, refused=True) for over in ({"bytes": 0.5}, {}, {"bytes": 0.2})]
    )
    assert cells(study, "states") == {"refused": ("3", "over bytes (2); no limit recorded (1)")}


def test_importances_of_the_only_knob_that_varies(finished: Study) -> None:
    assert read_report(finished).importances.shares == pytest.approx({"depth": 1.0, "learning_rate": 0.0, "head": 0.0})


@pytest.mark.parametrize(
    ("values", "depths", "why"),
    [
        ((), (), "0 of the 4 complete"),
        ((0.1, 0.2, 0.3), (2, 3, 4), "3 of the 4 complete"),
        ((0.5,) * 4, (2, 3, 4, 2), "scored the same"),
        ((0.1, 0.2, 0.3, 0.4), (2,) * 4, "no knob varies"),
    ],
)
def test_why_importances_are_absent(study: Study, values: tuple[float, ...], depths: tuple[int, ...], why: str) -> None:
    study.optuna.add_trials([trial(value, depth=depth) for value, depth in zip(values, depths, strict=True)])
    assert why in str(read_report(study).importances.absent)
    assert why in terminal(study, 200)


def test_the_confusion_marks_the_diagonal_and_the_worst(finished: Study) -> None:
    (table,) = [table for table in tables(read_report(finished)) if table.id == "confusion"]
    assert table.columns == ("true", "T-sh", "Trou", "Pull", "Dres", "Coat", "Sand", "Shir", "Snea", "Bag", "Ankl")
    assert {cell for cell, mark in table.marks.items() if mark == "alarm"} == {(6, 1), (4, 3), (0, 7)}
    assert {cell for cell, mark in table.marks.items() if mark == "strong"} == {(i, i + 1) for i in range(10)}
    assert "Shirt predicted as T-shirt/top (102)" in table.caption


def final_of(classes: int, most: int = 40) -> Final:
    """A test on which each class is predicted as the next one, more often from class to class."""
    counts = tuple(tuple(most if i == j else i if j == i + 1 else 0 for j in range(classes)) for i in range(classes))
    scores = tuple(
        ClassScore(name=f"garment {i}", precision=0.9, recall=0.9, f1=0.9, images=most + i) for i in range(classes)
    )
    return final(0.9).model_copy(update={"classes": scores, "confusion": counts})


@pytest.mark.parametrize(
    ("classes", "most", "is_matrix"), [(20, 40, True), (21, 1, False), (20, 400, False), (15, 400, True)]
)
def test_a_confusion_matrix_that_is_too_large_is_a_list(study: Study, classes: int, most: int, is_matrix: bool) -> None:
    remember(study, final=final_of(classes, most))
    (table,) = [table for table in tables(read_report(study)) if table.id == "confusion"]
    assert (len(table.columns) == classes + 1) == is_matrix
    assert max(map(len, terminal(study).splitlines())) <= 80
    if not is_matrix:
        assert table.columns == ("true", "predicted", "images", "share of the true class")
        assert len(table.rows) == 15
        share = f"{100 * (classes - 2) / (most + classes - 2):.1f} %"
        assert table.rows[0] == (f"garment {classes - 2}", f"garment {classes - 1}", str(classes - 2), share)


def test_many_classes_without_a_mistake(study: Study) -> None:
    perfect = tuple(tuple(5 * (i == j) for j in range(30)) for i in range(30))
    remember(study, final=final_of(30).model_copy(update={"confusion": perfect}))
    assert "No mistake between 30 classes." in terminal(study, 200)


def test_cleaning_is_before_the_data(study: Study) -> None:
    report = cleaned(caught("duplicates", 3, 0, "row 7", "row 12", action="dropped from train"))
    remember(study, data=data("shop.csv", cleaning=report, test=2000, test_fingerprint="7e57"))
    ids = [table.id for table in tables(read_report(study))]
    assert ids[ids.index("environment") - 1] == "cleaning"
    assert cells(study, "cleaning")["exact copies"] == ("duplicates", "3", "·", "dropped from train", "row 7, 12, ...")
    assert cells(study, "environment") == {
        "data": ("shop.csv",),
        "images": ("50,000 train, 10,000 validation, 2,000 test",),
        "train SHA-256": ("5e0a",),
        "test SHA-256": ("7e57",),
    }
    remember(study, data=data("shop.csv", cleaning=cleaned(caught("duplicates"))))
    assert "No rule found anything among 60,000 training and 10,000 test images." in terminal(study)


def test_studies_of_earlier_versions_have_no_cleaning(study: Study) -> None:
    remember(study, data=data())
    assert "Cleaning" not in terminal(study)
    assert cells(study, "environment")["images"] == ("50,000 train, 10,000 validation",)


def test_short_names_tell_classes_apart() -> None:
    assert short_names(["Shirt", "Shirts", "Bag"]) == ["Shirt", "Shirts", "Bag"]
    assert short_names(["class one", "class two"]) == ["0", "1"]


WORDS = st.text("abcdef 0", min_size=1, max_size=30)
FIGURES = st.floats(-1e6, 1e6).map(lambda figure: f"{figure:,.3f}")


@given(st.lists(st.tuples(FIGURES, WORDS, FIGURES, FIGURES, WORDS), min_size=1, max_size=3), st.integers(16, 100))
def test_a_figure_is_on_one_line_in_any_terminal(rows: list[tuple[str, ...]], width: int) -> None:
    table = Table(
        "Any",
        ("first", "second", "third", "fourth", "fifth"),
        rows,
        "Said.",
        frozenset({1, 4}),
        {(0, 3): "strong"},
        (3, 1, 4, 2),
    )
    narrow = fitted(table, width)
    screen = io.StringIO()
    print_table(narrow, Console(file=screen, width=width))
    lines = [line.split() for line in screen.getvalue().splitlines()]
    shown = {table.columns.index(head): i for i, head in enumerate(narrow.columns)}
    assert 0 in shown
    for i, row in enumerate(rows):
        assert narrow.rows[i] == tuple(row[j] for j in shown)
        assert any({row[j] for j in shown if j not in (1, 4)} <= set(line) for line in lines)
    assert all(
        (f"{table.columns[j]}," in narrow.caption or f"{table.columns[j]}:" in narrow.caption) != (j in shown)
        for j in range(5)
    )
    assert narrow.marks == ({(0, shown[3]): "strong"} if 3 in shown else {})
    assert narrow.text_columns == {shown[j] for j in (1, 4) if j in shown}


@given(st.integers(34, 130))
def test_no_figure_is_cut_in_any_terminal(width: int) -> None:
    rows = [("label_smoothing", "0.0727", "0.9212 ± 0.0022", "+0.0008", "[-0.0062, +0.0079]", "unclear")] * 2
    table = Table(
        "Wide", ("without", "was", "macro F1", "worth", "interval", "so"), rows, text_columns=frozenset({0, 1, 5})
    )
    screen = io.StringIO()
    print_table(table, Console(file=screen, width=width))
    shown = Counter("".join(screen.getvalue().split()))
    for char, count in Counter("".join("".join((*table.columns, *chain(*rows))).split())).items():
        assert shown[char] >= count, (char, screen.getvalue())
