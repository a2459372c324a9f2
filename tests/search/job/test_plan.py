"""What a run says it will do is what it does."""

from pathlib import Path

from tests.search.tiny import NAME, RUN, Say


def test_the_plan_of_a_grid_counts_its_points(say: Say) -> None:
    grid = ("--sampler", "grid", "--set", "filters=[4, 8]", "--set", "learning_rate=0.01", "--trials", "100")
    code, output, errors = say("run", "tiny.toml", "--data", "synthetic", "--workers", "1", *grid, "--dry-run")
    assert (code, errors) == (0, "")
    assert "2 trials of 2 epochs, grid" in output
    assert "100 trials" not in output


def test_the_plan_of_a_finished_study_is_its_result(say: Say, finished: Path) -> None:
    code, output, errors = say(*RUN, "--dry-run")
    assert (code, errors) == (0, "")
    headline = (finished / "output.txt").read_text().partition("Test macro F1 ")[2][:6]
    assert f"Test macro F1 {headline}" in output
    assert "nothing will be trained, the study is finished" in output
    assert "Estimate" not in output
    assert "Nothing was started." in output


def test_the_plan_of_more_trials_of_a_finished_study_is_refused_as_the_run_is(say: Say, finished: Path) -> None:
    planned, run = (say(*RUN, "--trials", "9", *more) for more in (["--dry-run"], []))
    assert planned[0] == run[0] == 2
    assert planned[2] == run[2]
    assert "is finished with 3 trials and its test split was opened; 9 trials were requested" in planned[2]


def test_what_is_not_in_a_time_is_said_beside_it(say: Say, finished: Path) -> None:
    _, plan, _ = say(*RUN, "--name", "another", "--dry-run")
    assert "test, report and export not included" in plan
    _, report, _ = say("report")
    assert "without the test, the report and the export" in " ".join(report.split())
    assert "wall clock of search, confirm and final" in (finished / "studies" / NAME / "report.html").read_text()
