"""The page of `compare --html`, written by the command and parsed as HTML, and the figures that only it has."""

import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from search.report.comparison import read_comparison
from search.report.page.comparison_figures import best_so_far, score_over
from search.report.page.paths import read_paths
from search.report.page.spent import epochs_trained, over_epochs, over_minutes
from search.storage.opening import open_storage
from search.study.records import Confirmation, DataRecord, Opening
from search.study.study import Study, load_study
from tests.search.report.lists.listed import STORAGE, listed_trial
from tests.search.report.page.test_html_report import Page, assert_self_contained
from tests.search.sample import candidate, environment, remember
from tests.search.tiny import Say

FILE = "compared.html"


def stored(name: str) -> Study:
    return load_study(open_storage(STORAGE, create=False), name)


def confirm(name: str, search_value: float, *seeds: float) -> None:
    winner = candidate(0, search_value, *seeds)
    remember(stored(name), confirmation=Confirmation(candidates=(winner,), winner=0))


def page_of(listed: Say, *studies: str) -> Page:
    code, output, errors = listed("compare", *studies, "--html", FILE)
    assert (code, errors) == (0, "")
    assert output.endswith(f"Written: {FILE}\n")
    return Page(Path(FILE).read_text(encoding="utf-8"))


def test_the_page_is_self_contained_and_complete(listed: Say) -> None:
    page = page_of(listed, "first", "second")
    assert_self_contained(page)
    assert [attributes["id"] for tag, attributes in page.tags if tag == "section"] == [
        "studies",
        "classes",
        "cost",
        "searches",
        "spaces",
        "record",
    ]
    assert len(page.figures) == 8  # scores, differences, two of classes, two of costs, two of paths
    assert page.text.count("first · second") == 2  # title and heading


def test_the_confirmed_score_stands_beside_the_test_score(listed: Say) -> None:
    confirm("second", 0.93, 0.91, 0.92)
    page = page_of(listed, "first", "second")
    expected = json.loads(listed("compare", "first", "second", "--json")[1])
    rows = {row[0]: row for row in page.table("study")}
    assert rows["second"][1:5] == [f"{expected[1]['final']:.4f}", "0.9150", "0.9000", "+0.0150"]
    assert rows["first"][2:5] == ["-", "0.9000", "-"]
    dots = page.figures["studies-0-0"]["data"]
    assert [trace["x"] for trace in dots[:2]] == [[0.9, 0.9], [pytest.approx(0.915)]]
    assert dots[1]["y"] == [1]  # the row of the second study


def test_differences_of_the_page_are_those_of_the_json(listed: Say) -> None:
    page = page_of(listed, "second", "first")
    _, other = json.loads(listed("compare", "second", "first", "--json")[1])
    (trace,) = page.figures["studies-1-0"]["data"]
    assert trace["x"] == [other["difference"]]
    assert trace["x"][0] - trace["error_x"]["arrayminus"][0] == pytest.approx(other["difference_low"])
    assert trace["x"][0] + trace["error_x"]["array"][0] == pytest.approx(other["difference_high"])
    assert "Better than the baseline, second" in page.text


def test_classes_stand_side_by_side_and_against_the_baseline(listed: Say) -> None:
    study = stored("second")
    final = dict(study.optuna.user_attrs["final"])
    final["classes"] = [score | {"f1": score["f1"] - 0.01} for score in final["classes"]]
    study.optuna.set_user_attr("final", final)
    page = page_of(listed, "first", "second")
    first, second = page.figures["classes-0-0"]["data"]
    (minus,) = page.figures["classes-0-1"]["data"]
    assert (first["name"], second["name"], minus["name"]) == ("first", "second", "second")
    assert minus["x"] == [pytest.approx(-0.01)] * 10
    assert page.table("class")[0][:4] == ["T-shirt/top", "0.8000", "0.7900", "-0.0100"]


def test_only_knobs_and_settings_that_differ_are_listed(listed: Say) -> None:
    study = stored("second")
    study.note_spec(study.spec.overridden(settings=["learning_rate=0.001..0.1", "batch_size=64"], seed=7))
    study.optuna.set_user_attr("final", study.optuna.user_attrs["final"] | {"trial": 0})
    study = stored("first")
    study.optuna.set_user_attr("final", study.optuna.user_attrs["final"] | {"trial": 0})
    page = page_of(listed, "first", "second")
    assert page.table("knob") == [
        ["learning_rate", "0.00123 of 0.003 to 0.03 log", "0.00123 of 0.001 to 0.1 log"],
        ["batch_size", "128", "64"],
    ]
    assert page.table("setting") == [["seed", "0", "7"]]


def test_studies_of_one_space_say_so(listed: Say) -> None:
    page = page_of(listed, "first", "second")
    assert "Nowhere: all studies search the same space." in page.text
    assert "the study files differ in nothing but their spaces" in page.text


def test_other_training_images_and_machines_are_warned_of(listed: Say) -> None:
    study = stored("second")
    data = study.read(DataRecord)
    assert data is not None
    for name, cores in (("first", 2), ("second", 4)):
        remember(stored(name), environments=[environment(cores=cores)])
    remember(study, data=data.model_copy(update={"fingerprint": "0ther"}))
    openings = [Opening(at=f"2025-01-0{day}T13:00:00+00:00", by="evaluate", trial=0) for day in (1, 2)]
    remember(study, openings=openings)
    page = page_of(listed, "first", "second")
    assert "their validation scores cannot be compared" in page.text
    assert "The studies differ in cores" in page.text
    assert "second: The test split was opened twice" in page.text
    assert "3 openings together" in page.text
    assert next(row for table in page.tables for row in table if row[:2] == ["second", "2"])[2] == "evaluate"


def test_the_size_of_the_file_and_its_latency_are_those_of_the_export(listed: Say) -> None:
    final = stored("first").optuna.user_attrs["final"]
    metrics: dict[str, Any] = {
        "test_fingerprint": "7e57",
        "mean": final["mean"],
        "parity": [{"file": "model.onnx", "bytes": 67_114}],
        "latency": {"processor": "x", "threads": 2, "milliseconds": {"model.onnx": {"1": 0.0267}}, "unsteady": []},
    }
    for name in ("first", "second"):  # that of the second study is of another result
        export = Path("studies") / name / "export"
        export.mkdir()
        (export / "metrics.json").write_text(json.dumps(metrics))
    page = page_of(listed, "first", "second")
    sizes = {row[0]: row for row in next(table for table in page.tables if table[0][1] == "parameters")[1:]}
    assert sizes["first"][1:5] == ["105,674", "12.3", "67 kB", "0.0267 ms"]
    assert sizes["second"][3:5] == ["-", "-"]
    rows = json.loads(listed("compare", "first", "second", "--json")[1])
    assert [(row["file_bytes"], row["latency_ms"]) for row in rows] == [(67_114, 0.0267), (None, None)]
    (Path("studies") / "first" / "export" / "metrics.json").write_text("no JSON")
    assert "67 kB" not in page_of(listed, "first", "second").html


def test_json_and_csv_stay_alone_on_standard_output(listed: Say) -> None:
    for form in ("--json", "--csv"):
        alone = listed("compare", "first", "second", form)
        code, output, errors = listed("compare", "first", "second", form, "--html", FILE)
        assert (code, output) == alone[:2]
        assert errors == f"Written: {FILE}\n"


def test_open_shows_the_page_in_the_folder_of_studies(listed: Say, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []

    def refuse(address: str) -> bool:
        opened.append(address)
        return False

    monkeypatch.setattr("webbrowser.open", refuse)
    code, output, _ = listed("compare", "first", "second", "--open")
    assert code == 0
    assert opened == [Path("studies/compare.html").absolute().as_uri()]
    assert "No browser could be opened. Open studies/compare.html in a browser." in output


def test_an_unfinished_study_is_refused_and_no_page_is_written(listed: Say) -> None:
    code, output, errors = listed("compare", "first", "going", "--html", FILE)
    assert (code, output) == (2, "")
    assert "the study 'going' has none yet" in errors
    assert not Path(FILE).exists()


def test_a_page_that_cannot_be_written_is_one_clean_error(listed: Say) -> None:
    code, _, errors = listed("compare", "first", "second", "--html", "tiny.toml/page.html")
    assert (code, len(errors.splitlines())) == (2, 1)
    assert "page.html must be writable" in errors


@pytest.fixture
def timed() -> Study:
    """Trials one after another: 10 minutes each, with a night between the second and the third."""
    study = Study(optuna.create_study(direction="maximize"))
    for number, value, state, start in (
        (0, 0.90, TrialState.COMPLETE, 0),
        (1, 0.85, TrialState.PRUNED, 10),
        (2, 0.89, TrialState.COMPLETE, 500),
        (3, 0.92, TrialState.COMPLETE, 510),
    ):
        trial = listed_trial(state, epochs=1 if state == TrialState.PRUNED else 3, value=value)
        trial.number = number
        trial.datetime_start = datetime(2025, 1, 1) + timedelta(minutes=start)
        trial.datetime_complete = trial.datetime_start + timedelta(minutes=10)
        study.optuna.add_trial(trial)
    return study


def test_best_values_stand_over_the_minutes_of_work(timed: Study) -> None:
    paths = read_paths(timed)
    assert over_minutes(paths, searched=2400) == [(10, 0.90), (40, 0.92), (40, 0.92)]
    for known in (0, 10 * 31_200):  # not on record, or longer than the trials took
        assert over_minutes(paths, searched=known) == [(10, 0.90), (520, 0.92), (520, 0.92)]


def test_best_values_stand_over_the_epochs_of_all_trials(timed: Study) -> None:
    paths = read_paths(timed)
    assert over_epochs(paths) == [(3, 0.90), (10, 0.92), (10, 0.92)]
    assert epochs_trained(paths) == 10
    assert over_minutes([], searched=0) == over_epochs([]) == []


def test_the_axis_of_searches_shows_how_they_end() -> None:
    steps = [[(1.0, 0.3), (5.0, 0.93)], [(1.0, 0.91), (9.0, 0.935)]]
    low, high = best_so_far(["a", "b"], steps, "minutes").layout["yaxis"]["range"]
    assert 0.9 < low < 0.92
    assert 0.935 < high < 0.94


@pytest.mark.parametrize(
    ("costs", "ticks"),
    [
        ((7_894, 31_530), ["10,000", "20,000"]),
        ((100, 100), ["100"]),
        ((10, 1e6), None),
        ((0.6, 6.1), ["0.5", "1", "2", "5"]),
    ],
)
def test_logarithmic_axes_have_round_ticks(listed: Say, costs: tuple[float, float], ticks: list[str] | None) -> None:
    tested = read_comparison([stored("first"), stored("second")]).studies
    axis = score_over(tested, costs, "parameters").layout["xaxis"]
    assert axis["ticktext"] == (ticks or ["10", "100", "1,000", "10,000", "100,000", "1,000,000"])


def test_a_report_draws_the_classes_against_the_baseline_of_the_same_images(listed: Say) -> None:
    assert listed("rename", "first", "baseline")[0] == 0
    for name, figures in (("second", 2), ("shop", 0), ("baseline", 0)):
        code, _, errors = listed("report", name, "--html", FILE)
        assert (code, errors) == (0, "")
        page = Page(Path(FILE).read_text(encoding="utf-8"))
        assert_self_contained(page)
        bars = [figure for figure in page.figures.values() if figure["data"][0].get("name") in ("baseline", "second")]
        assert len(bars) == figures
        assert ("Grey is the baseline, the study baseline" in page.text) == bool(figures)
