"""What a run says it will do is what it does."""

from pathlib import Path

import pytest

from search.job.minutes import with_values
from search.job.options import Options
from search.job.plan import as_begun, make_plan
from search.job.request import RunRequest
from search.storage.opening import open_storage
from search.study.paths import DEFAULT_STORAGE
from search.study.records import Confirmation
from search.study.study import Study, create_study
from tests.search.sample import trial
from tests.search.tiny import NAME, RUN, Say


@pytest.mark.parametrize(
    ("filters", "trials", "says"),
    [
        ("[4, 8]", "100", "2 trials of 2 epochs, all 2 points of the grid"),
        ("[4, 8, 12]", "2", "2 trials of 2 epochs, 2 of the grid's 3 points"),
        ("4", "9", "1 trial of 2 epochs, the only point of the grid"),
    ],
)
def test_the_plan_of_a_grid_counts_its_points(filters: str, trials: str, says: str, say: Say) -> None:
    grid = ("--sampler", "grid", "--set", f"filters={filters}", "--set", "learning_rate=0.01", "--trials", trials)
    code, output, errors = say("run", "tiny.toml", "--data", "synthetic", "--workers", "1", *grid, "--dry-run")
    assert (code, errors) == (0, "")
    assert f"{says}, nothing pruned" in output
    assert f"the best {'1 trial' if filters == '4' else '2 trials'} again" in output
    assert "100 trials" not in output


def planned(say: Say, *more: str) -> str:
    """The row of the plan that says how far the study is, "" if it has none."""
    code, output, errors = say(*RUN, *more, "--dry-run")
    assert (code, errors) == (0, "")
    (row,) = [line for line in output.splitlines() if line.startswith("Begun")] or [""]
    return row.removeprefix("Begun").strip()


def begun() -> Study:
    """The study of tiny.toml as a run begins it."""
    request = RunRequest(storage=DEFAULT_STORAGE, study="tiny.toml", data="synthetic", options={"workers": 1})
    plan = make_plan(request, lambda _: None)
    return create_study(open_storage(plan.storage, create=True), plan.spec, plan.data)


def test_the_plan_of_a_study_that_has_begun_says_how_far_it_is(say: Say) -> None:
    assert planned(say) == ""
    study = begun()
    assert planned(say) == "0 of 3 trials are finished; the run goes on with the search"
    study.optuna.add_trial(trial(0.8))
    assert planned(say) == "1 of 3 trials is finished; the run goes on with the search"
    study.optuna.add_trials([trial(0.8), trial(0.9)])
    assert planned(say) == "3 of 3 trials are finished; the run goes on with the confirm stage"
    assert planned(say, "--trials", "5") == "3 of 5 trials are finished; the run goes on with the search"
    study.write(Confirmation(candidates=(), winner=None))
    assert planned(say).endswith("the run goes on with the confirm stage")
    study.write(Confirmation(candidates=(), winner=1))
    assert planned(say).endswith("the run goes on with the final trainings")
    minutes = "3 trials are finished; the run goes on with the search"
    assert planned(say, "--search-minutes", "5", "--trials", "50") == minutes


def test_runs_that_are_planned_together_have_the_decisions_of_the_first(say: Say) -> None:
    options: Options = {"workers": 1, "minutes": 5.0}
    request = RunRequest(storage=DEFAULT_STORAGE, study="tiny.toml", data="synthetic", options=options)
    first, second = (make_plan(request, lambda _: None) for _ in range(2))
    other = with_values(
        first.spec, search={"minutes": 1.23}, final={"epochs": 7}, knobs=first.spec.knobs | {"epochs": 3}
    )
    storage = open_storage(first.storage, create=True)
    create_study(storage, other, first.data)
    assert second.spec != other
    assert as_begun(second, storage).spec == other
    assert create_study(storage, as_begun(second, storage).spec, second.data).spec == other


def test_the_plan_of_a_finished_study_is_its_result(say: Say, finished: Path) -> None:
    code, output, errors = say(*RUN, "--dry-run")
    assert (code, errors) == (0, "")
    headline = (finished / "output.txt").read_text().partition("Test macro F1 ")[2][:6]
    assert f"Test macro F1 {headline}" in output
    assert "nothing will be trained, the study is finished: the run only writes its report again" in output
    assert "Begun" not in output
    assert "Estimate" not in output
    assert "Nothing was started." in output


def test_the_plan_of_more_trials_of_a_finished_study_is_refused_as_the_run_is(say: Say, finished: Path) -> None:
    planned, run = (say(*RUN, "--trials", "9", *more) for more in (["--dry-run"], []))
    assert planned[0] == run[0] == 2
    assert planned[2] == run[2]
    assert "is finished with 3 trials and its test split was opened; 9 trials were requested" in planned[2]


def test_what_is_in_a_time_and_what_is_not_is_said_beside_it(say: Say, finished: Path) -> None:
    _, plan, _ = say(*RUN, "--name", "another", "--dry-run")
    assert ", start, test, report and export " in " ".join(plan.split())
    _, report, _ = say("report")
    assert "without the test, the report and the export" in " ".join(report.split())
    assert "wall clock of search, confirm and final" in (finished / "studies" / NAME / "report.html").read_text()
