"""A search by freeze-thaw: budgets, pauses, interruptions and resumes, with real trainings and a real database."""

from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState

from search.errors import SearchError
from search.job.freezing import Pace
from search.job.interrupt import Interrupt
from search.job.progress.base import Progress
from search.job.search import optimize
from search.report.facts import read_report
from search.report.lists.trial_rows import trial_rows
from search.report.render import to_markdown
from search.storage.trial_record import TrialRecord
from search.study.budget import is_searched
from search.study.records import SearchEnd
from search.study.spec import StudySpec
from search.study.study import Study
from search.study.trials import finished_trials
from tests.search.job.test_search import interrupted
from tests.search.tiny import CLASSES, Inline, in_database, stage, tiny_spec

EPOCHS = 5


def frozen(*, trials: int = 8, **knobs: Any) -> StudySpec:
    rates = {"low": 0.0001, "high": 0.03, "log": True}
    return tiny_spec(trials=trials, sampler="gp", pruner="freeze-thaw", epochs=EPOCHS, learning_rate=rates, **knobs)


def searched(study: Study, spec: StudySpec, *, places: int = 1) -> Study:
    optimize(stage(study, spec, Inline(places), Progress(), Interrupt()), CLASSES)
    return study


@pytest.mark.parametrize("places", [1, 3])
def test_the_budget_is_exact_and_no_trial_is_left_waiting(tmp_path: Path, places: int) -> None:
    spec = frozen()
    study = searched(in_database(tmp_path, spec), spec, places=places)
    trials = study.trials()
    assert len(trials) <= 8
    assert {trial.state for trial in trials} <= {TrialState.COMPLETE, TrialState.PRUNED}
    assert sum(trial.state == TrialState.COMPLETE for trial in trials) >= spec.confirm.top
    assert is_searched(study, spec)
    paused = [TrialRecord(trial) for trial in trials if trial.state == TrialState.PRUNED]
    assert paused, "some promise little"
    for record in paused:
        assert record.reason is not None
        assert record.reason.startswith(f"paused after epoch {len(record.curve)}: ")
        assert record.seconds
    before = len(trials)
    assert len(searched(study, spec).trials()) == before, "the search does not begin again"


def test_trials_pause_and_the_lists_say_why(tmp_path: Path) -> None:
    spec = frozen()
    study = interrupted(in_database(tmp_path, spec), spec, epochs=10)
    rows = {row["number"]: row for row in trial_rows(study)}
    paused = [row for row in rows.values() if row["state"] == "paused"]
    assert paused
    for row in paused:
        assert str(row["reason"]).startswith("paused after epoch ")
    assert read_report(study).states.waiting >= len(paused)


def test_an_interrupted_search_goes_on_with_its_paused_trials(tmp_path: Path) -> None:
    spec = frozen()
    study = interrupted(in_database(tmp_path, spec), spec, epochs=10)
    before = {trial.number: (trial.params, dict(trial.intermediate_values)) for trial in study.trials()}
    again = searched(in_database(tmp_path, spec), spec)
    assert len(again.trials()) <= spec.trials
    for trial in again.trials():
        if trial.number in before:
            params, values = before[trial.number]
            assert trial.params == params
            assert {epoch: trial.intermediate_values[epoch] for epoch in values} == values


def test_the_value_of_a_trial_is_that_of_a_training_without_pauses(tmp_path: Path) -> None:
    spec = frozen()
    study = searched(in_database(tmp_path, spec), spec)
    for trial in study.trials((TrialState.COMPLETE,)):
        assert trial.value == trial.intermediate_values[EPOCHS]
        assert [point.number for point in TrialRecord(trial).curve] == list(range(1, EPOCHS + 1))


def test_an_early_end_is_recorded_and_a_larger_budget_goes_on(tmp_path: Path) -> None:
    spec = frozen(trials=20)
    study = searched(in_database(tmp_path, spec), spec)
    end = study.read(SearchEnd)
    assert end is not None
    assert "promises" in end.reason
    report = to_markdown(read_report(study))
    assert end.reason in report
    assert end.unused == 20 - len(finished_trials(study))
    assert is_searched(study, spec)
    assert not is_searched(study, frozen(trials=21))


def test_an_enqueued_trial_is_trained_first(tmp_path: Path) -> None:
    spec = frozen()
    study = in_database(tmp_path, spec)
    study.optuna.enqueue_trial({"filters": 8, "learning_rate": 0.01})
    searched(study, spec)
    assert study.trials()[0].params == {"filters": 8, "learning_rate": 0.01}
    assert study.trials()[0].intermediate_values


def test_what_is_enqueued_is_trained_to_its_end_however_little_it_promises(tmp_path: Path) -> None:
    spec = frozen()
    study = in_database(tmp_path, spec)
    for rate in (0.02, 0.0001, 0.00011, 0.00012, 0.00013):
        study.optuna.enqueue_trial({"filters": 4, "learning_rate": rate})
    searched(study, spec)
    assert [trial.state for trial in study.trials()[:5]] == [TrialState.COMPLETE] * 5


def test_networks_over_a_limit_are_not_begun(tmp_path: Path) -> None:
    spec = frozen().overridden(max_params=600)
    study = searched(in_database(tmp_path, spec), spec)
    records = [TrialRecord(trial) for trial in study.trials()]
    assert all(record.parameters and record.parameters <= 600 for record in records)
    assert not any(record.is_refused for record in records)


@pytest.mark.parametrize(
    ("search", "says"),
    [
        ({"sampler": "tpe", "pruner": "freeze-thaw"}, 'sampler = "gp"'),
        ({"sampler": "gp", "pruner": "percentile", "patience": 3.0}, 'pruner = "freeze-thaw"'),
    ],
)
def test_what_does_not_go_together_is_refused(search: dict[str, object], says: str) -> None:
    values = tiny_spec().model_dump() | {"search": {"trials": 3} | search}
    with pytest.raises(SearchError, match=says):
        StudySpec.parse(values, context="mine.toml")


def test_the_pace_is_a_power_law_of_the_operations() -> None:
    pace = Pace()
    assert not pace.is_known
    assert pace.seconds(1e6) == 1.0
    pace.note(0, 1e6, 2.0)
    assert pace.seconds(4e6) == pytest.approx(8.0)
    pace.note(1, 4e6, 4.0)
    assert pace.seconds(16e6) == pytest.approx(8.0)
    assert pace.of(1, 1e6) == pytest.approx(4.0)
