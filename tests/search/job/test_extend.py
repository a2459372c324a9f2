"""A study goes on in another space: its trials stay, and those outside it are no candidates."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import optuna
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from optuna.trial import FrozenTrial, TrialState

from search.errors import SearchError
from search.job.confirm import confirm
from search.job.extend import extend
from search.job.interrupt import Interrupt, InterruptedRunError
from search.job.progress.base import Progress
from search.job.search import optimize
from search.report.page.html import read_facts, to_html
from search.report.render import read_report
from search.samplers.inside import inside
from search.storage.trial_record import TrialRecord
from search.study.extension import Extension
from search.study.records import Confirmation, SearchEnd
from search.study.space import distribution
from search.study.spec import StudySpec
from search.study.study import Study
from search.study.trials import complete_trials
from tests.search.tiny import (
    CLASSES,
    DATA,
    RUN,
    TOML,
    Inline,
    InterruptAfter,
    Say,
    in_database,
    run_command,
    stage,
    start_command,
    tiny_spec,
    wait_for_line,
)

WIDER = {"low": 0.001, "high": 0.1, "log": True}


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def searched(folder: Path, spec: StudySpec) -> Study:
    study = in_database(folder, spec)
    optimize(stage(study, spec, Inline(), Progress()), CLASSES)
    return study


def extended(folder: Path, spec: StudySpec) -> Study:
    """The study as a run that extends it sees it."""
    study = in_database(folder, spec_of(folder))
    extend(study.storage, spec, DATA)
    return in_database(folder, spec)


def spec_of(folder: Path) -> StudySpec:
    study = optuna.load_study(study_name="tiny", storage=f"sqlite:///{folder}/studies/fmnist.db")
    return StudySpec.model_validate(study.user_attrs["spec"])


def configs(study: Study) -> list[dict[str, Any]]:
    return [dict(TrialRecord(trial).config or {}) for trial in study.trials()]


@pytest.mark.parametrize("sampler", ["tpe", "gp", "random"])
def test_a_wider_space_and_a_freed_knob_keep_every_trial(sampler: str, tmp_path: Path) -> None:
    before = searched(tmp_path, tiny_spec(trials=4, sampler=sampler))
    wider = tiny_spec(trials=7, sampler=sampler, learning_rate=WIDER, dropout={"low": 0.0, "high": 0.3})
    study = extended(tmp_path, wider)
    assert configs(study) == configs(before)
    for trial in study.trials():
        assert trial.distributions == wider.space.distributions()
        assert trial.params["dropout"] == 0.0, "which the study had pinned"
    assert study.read_all(Extension)[0].outside == ()
    optimize(stage(study, wider, Inline(), Progress()), CLASSES)
    assert [trial.state for trial in study.trials()] == [TrialState.COMPLETE] * 7
    assert optuna.search_space.intersection_search_space(study.trials()) == wider.space.distributions()


@pytest.mark.parametrize("sampler", ["tpe", "gp"])
def test_a_model_sees_the_trials_inside_alone(sampler: str, tmp_path: Path) -> None:
    searched(tmp_path, tiny_spec(trials=6, sampler=sampler, filters=[4, 8, 12]))
    narrower = tiny_spec(trials=8, sampler=sampler, filters=[8, 12], learning_rate=WIDER)
    study = extended(tmp_path, narrower)
    seen = inside(study.optuna).trials
    assert [trial.number for trial in seen] == [t.number for t in study.trials() if t.params["filters"] != 4]
    assert len(seen) < 6
    optimize(stage(study, narrower, Inline(), Progress()), CLASSES)
    for trial in study.trials()[6:]:
        assert trial.params["filters"] != 4
        assert trial.distributions == narrower.space.distributions()


def test_the_page_of_a_study_whose_range_became_a_list_with_0_is_drawn(tmp_path: Path) -> None:
    searched(tmp_path, tiny_spec(trials=3, l2={"low": 0.001, "high": 0.1, "log": True}))
    listed = tiny_spec(trials=6, l2=[0.0, 0.05])
    study = extended(tmp_path, listed)
    optimize(stage(study, listed, Inline(), Progress()), CLASSES)
    assert {trial.params["l2"] for trial in complete_trials(study)} == {0.0, 0.05}
    assert "Each complete trial as a line" in to_html(read_facts(study))


def test_a_trial_outside_is_no_candidate_until_the_space_has_it_again(tmp_path: Path) -> None:
    first = searched(tmp_path, tiny_spec(trials=6))
    best = complete_trials(first)[0]
    other = next(width for width in (4, 8) if width != best.params["filters"])
    pinned = tiny_spec(trials=6, filters=other)
    study = extended(tmp_path, pinned)
    assert best.number not in [trial.number for trial in complete_trials(study)]
    assert complete_trials(study)
    report = read_report(study)
    assert best.number not in [row.number for row in report.best]
    assert best.number in report.extensions[0].outside
    assert report.extensions[0].changes == (f"filters {other} (before 4, 8)",)
    assert confirm(stage(study, pinned, Inline(), Progress())).trial != best.number
    confirmation = study.read(Confirmation)
    assert confirmation is not None
    assert confirmation.winner is not None
    again = extended(tmp_path, tiny_spec(trials=6))
    assert complete_trials(again)[0].number == best.number
    assert [len(one.outside) for one in again.read_all(Extension)] == [len(report.extensions[0].outside), 0]
    reopened = again.read(Confirmation)
    assert reopened is not None
    assert reopened.winner is None
    assert reopened.candidates == confirmation.candidates


def interrupted(folder: Path, spec: StudySpec, *, epochs: int) -> Study:
    study, interrupt = in_database(folder, spec), Interrupt()
    with pytest.raises(InterruptedRunError):
        optimize(stage(study, spec, Inline(), InterruptAfter(interrupt, epochs), interrupt), CLASSES)
    return study


@pytest.mark.parametrize("stays", [True, False])
def test_a_trial_that_waits_goes_on_if_the_space_has_it(stays: bool, tmp_path: Path) -> None:
    begun = interrupted(tmp_path, tiny_spec(trials=3, epochs=4), epochs=2)
    (waiting,) = begun.trials((TrialState.WAITING,))
    width = waiting.params["filters"] if stays else 12 - waiting.params["filters"]
    spec = tiny_spec(trials=3, epochs=4, filters=width, dropout=[0.0, 0.2])
    study = extended(tmp_path, spec)
    snapshot = study.snapshot(f"trial {waiting.number}")
    snapshot.parent.mkdir(parents=True, exist_ok=True)
    snapshot.touch()
    optimize(stage(study, spec, Inline(), Progress()), CLASSES)
    trial = study.trials()[waiting.number]
    assert configs(study)[waiting.number] == configs(begun)[waiting.number]
    assert trial.state == (TrialState.COMPLETE if stays else TrialState.PRUNED)
    assert not snapshot.exists()
    reason = TrialRecord(trial).reason or ""
    assert ("outside the study's space: filters must be" in reason) != stays
    assert sum(trial.state.is_finished() for trial in study.trials()) == 3, "the budget holds"


def test_a_search_that_had_nothing_more_to_gain_goes_on_in_a_wider_space(tmp_path: Path) -> None:
    study = in_database(tmp_path, tiny_spec(trials=5))
    study.write(SearchEnd(reason="nothing more to gain", trials=5, minutes=None, unused=5))
    study = extended(tmp_path, wider := tiny_spec(trials=5, learning_rate=WIDER))
    assert study.read(SearchEnd) is None
    optimize(stage(study, wider, Inline(), Progress()), CLASSES)
    assert len(complete_trials(study)) == 5


def test_freeze_thaw_goes_on_in_the_new_space(tmp_path: Path) -> None:
    def spec(**knobs: Any) -> StudySpec:
        return tiny_spec(trials=6, pruner="freeze-thaw", sampler="gp", epochs=3, **knobs)

    interrupted(tmp_path, spec(), epochs=8)
    wider = spec(filters=8, learning_rate=WIDER, dropout={"low": 0.0, "high": 0.3})
    study = extended(tmp_path, wider)
    optimize(stage(study, wider, Inline(), Progress()), CLASSES)
    for trial in study.trials():
        if TrialRecord(trial).outside is None:
            assert trial.distributions == wider.space.distributions()
        else:
            assert trial.params["filters"] == 4


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"epochs": 5}, "cannot be extended to other epochs, got 5 in place of 2"),
        ({"sampler": "nsga2"}, "exists with another set-up"),
        ({"pruner": "median"}, "exists with another set-up"),
    ],
)
def test_what_cannot_be_reconciled_is_refused(changes: dict[str, Any], says: str, tmp_path: Path) -> None:
    study = searched(tmp_path, tiny_spec(trials=1))
    with pytest.raises(SearchError, match=says):
        extend(study.storage, tiny_spec(**{"trials": 3} | changes), DATA)
    assert study.read_all(Extension) == ()


@pytest.mark.parametrize("sampler", ["grid", "cmaes", "nsga2"])
def test_samplers_that_keep_their_own_proposals_are_refused(sampler: str, tmp_path: Path) -> None:
    grid: dict[str, Any] = {"learning_rate": [0.003, 0.01]} if sampler == "grid" else {}
    study = in_database(tmp_path, tiny_spec(sampler=sampler, **grid))
    with pytest.raises(SearchError, match=f"got {sampler}: it builds on its own proposals"):
        extend(study.storage, tiny_spec(sampler=sampler, **grid | {"filters": 8}), DATA)


def test_other_data_are_refused(tmp_path: Path) -> None:
    study = in_database(tmp_path, tiny_spec())
    with pytest.raises(SearchError, match="made on other training images"):
        extend(study.storage, tiny_spec(filters=8), DATA.model_copy(update={"fingerprint": "other"}))


KNOBS = st.fixed_dictionaries(
    {},
    optional={
        "filters": st.sampled_from(
            [4, 8, [4, 8], [4, 8, 12], {"low": 4, "high": 12}, {"low": 4, "high": 12, "step": 4}]
        ),
        "learning_rate": st.sampled_from(
            [0.01, {"low": 0.003, "high": 0.03, "log": True}, {"low": 0.005, "high": 0.02}, [0.01, 0.02]]
        ),
        "dropout": st.sampled_from([0.0, 0.2, [0.0, 0.2], {"low": 0.0, "high": 0.5}]),
        "activation": st.sampled_from(["relu", ["relu", "silu"], ["silu", "gelu", "relu"]]),
    },
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(spaces=st.lists(KNOBS, min_size=2, max_size=3))
def test_each_trial_has_the_parameters_of_the_space_that_has_it(
    spaces: list[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder, number = tmp_path_factory.mktemp("extended"), 0
    study = in_database(folder, tiny_spec(trials=99, **spaces[0]))
    for knobs in spaces:
        spec = tiny_spec(trials=99, **knobs)
        extend(study.storage, spec, DATA)
        study, number = in_database(folder, spec), number + 2
        while len(study.trials()) < number:
            begin(study, spec)
        for trial, config in zip(study.trials(), configs(study), strict=True):
            errors = spec.space.errors(config)
            assert TrialRecord(trial).outside == ("; ".join(errors) or None)
            if not errors:
                assert trial.params == {name: config[name] for name in spec.space.knobs}
                assert trial.distributions == {name: distribution(knob) for name, knob in spec.space.knobs.items()}
        assert extend(study.storage, spec, DATA) is None, "once"


def begin(study: Study, spec: StudySpec) -> FrozenTrial:
    trial = study.optuna.ask()
    config = spec.space.suggest(trial)
    trial.set_user_attr("config", config.model_dump())
    return study.optuna.tell(trial, 0.5)


@pytest.mark.process
def test_the_command_extends_a_begun_study_through_kills_and_no_finished_one(say: Say, tmp_path: Path) -> None:
    kill_at(tmp_path, "trial 0 complete", *RUN, "--trials", "5")
    code, _, errors = say(*RUN, "--trials", "5", "--set", "lr=0.001..0.02")
    assert (code, "exists with another set-up" in errors) == (2, True)
    assert "--extend" in errors
    change = ("--trials", "5", "--extend", "--set", "lr=0.001..0.02", "--set", "dropout=0..0.3")
    code, plan, _ = say(*RUN, *change, "--dry-run")
    assert code == 0
    assert "learning_rate 0.001 to 0.02 log (before 0.003 to 0.01 log); dropout 0 to 0.3 (before 0)" in plan
    kill_at(tmp_path, "The space is changed", *RUN, *change)
    kill_at(tmp_path, "Final", *RUN, *change)
    # By its own name a study is extended from what is stored, here with no further change.
    done = run_command(tmp_path, "run", "tiny-synthetic", "--data", "synthetic", "--workers", "1", "--extend")
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "studies" / "tiny-synthetic" / "report.json").read_text())
    assert report["states"]["complete"] == 5
    assert len(report["extensions"]) == 1
    assert report["spec"]["knobs"]["dropout"] == {"low": 0, "high": 0.3}
    assert "The study's space" in say("report")[1]
    code, _, errors = say(*RUN, "--extend", "--set", "dropout=0..0.5")
    assert (code, "is finished and its test split was opened" in errors) == (2, True)
    code, _, errors = say("run", "baseline", "--data", "synthetic", "--extend")
    assert (code, "no study named 'baseline-synthetic' that could be extended" in errors) == (2, True)
    code, _, errors = say("run", "tiny-synthetic", "--data", "synthetic", "--extend", "--set", "dropout=0..0.5")
    assert (code, "is finished and its test split was opened" in errors) == (2, True)
    code, _, errors = say(*RUN, "--extend", "--name", "other")
    assert (code, "no study named 'other' that could be extended" in errors) == (2, True)


def kill_at(folder: Path, line: str, *arguments: str) -> None:
    (folder / "tiny.toml").write_text(TOML)
    process = start_command(folder, *arguments)
    try:
        wait_for_line(process, line)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
