"""Configurations that a person has tried next."""

import json
from pathlib import Path

import pytest
from optuna.trial import TrialState

from search.job.interrupt import Interrupt
from search.job.progress.base import Progress
from search.job.search import optimize
from search.study.spec import StudySpec
from search.study.study import Study
from search.study.trials import finished_trials
from tests.search.tiny import (
    CLASSES,
    DEADLINE,
    NAME,
    RUN,
    Inline,
    Say,
    in_database,
    stage,
    start_command,
    tiny_spec,
    wait_for_line,
)


def searched(folder: Path, spec: StudySpec) -> Study:
    study = in_database(folder, spec)  # as another process opens it
    optimize(stage(study, spec, Inline(), Progress(), Interrupt()), CLASSES)
    return study


@pytest.mark.parametrize(("sampler", "pruner"), [("tpe", "median"), ("gp", "percentile"), ("gp", "freeze-thaw")])
def test_it_is_tried_next_and_counts_in_the_budget(sampler: str, pruner: str, say: Say, tmp_path: Path) -> None:
    spec = tiny_spec(trials=4, sampler=sampler, pruner=pruner)
    in_database(tmp_path, spec)
    code, output, _ = say("enqueue", "tiny", "filters=8", "lr=0.004")
    assert (code, output) == (0, "1 configuration will be tried next: trial 0.\n")
    study = searched(tmp_path, spec)
    assert [trial.number for trial in finished_trials(study)] == [0, 1, 2, 3]
    first = study.trials()[0]
    assert (first.state in (TrialState.COMPLETE, TrialState.PRUNED), first.params["filters"]) == (True, 8)
    assert first.params["learning_rate"] == pytest.approx(0.004)


def test_a_file_has_several_and_one_may_leave_knobs_out(say: Say, tmp_path: Path) -> None:
    spec = tiny_spec(trials=3)
    in_database(tmp_path, spec)
    (tmp_path / "mine.toml").write_text("configs = [{ filters = 8 }, { learning_rate = 0.005 }]")
    assert say("enqueue", "tiny", "--file", "mine.toml")[1] == "2 configurations will be tried next: trial 0, 1.\n"
    study = searched(tmp_path, spec)
    params = [trial.params for trial in study.trials()]
    assert (len(params), params[0]["filters"], params[1]["learning_rate"]) == (3, 8, 0.005)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("filters=5",), "filters must be one of 4, 8, got 5."),
        (("filters=4,8",), "filters must be one of 4, 8, got [4, 8]."),
        (("depth=3",), "depth must be 1, its pinned value, got 3."),
        (("filterz=4",), "enqueue filterz=4: unknown knob 'filterz'. Did you mean 'filters'?"),
        (("filters",), "enqueue takes knob=value, got 'filters'"),
        ((), "Name what to try"),
        (("--file", "none.toml"), "cannot be read"),
        (("--file", "wrong.toml"), "wrong.toml must have one key, configs"),
        (("--file", "outside.toml"), "configs entry 2: filters must be one of 4, 8, got 5."),
    ],
)
def test_what_is_not_of_the_space_is_refused_and_nothing_is_queued(
    arguments: tuple[str, ...], says: str, say: Say, tmp_path: Path
) -> None:
    study = in_database(tmp_path, tiny_spec())
    (tmp_path / "wrong.toml").write_text("filters = 4")
    (tmp_path / "outside.toml").write_text("configs = [{ filters = 4 }, { filters = 5 }]")
    code, output, errors = say("enqueue", "tiny", *arguments)
    assert (code, output, says in errors) == (2, "", True), errors
    assert study.trials() == []


def test_a_grid_takes_whole_configurations_only(say: Say, tmp_path: Path) -> None:
    study = in_database(tmp_path, tiny_spec(trials=4, sampler="grid", filters=[4, 8], learning_rate=[0.001, 0.01]))
    code, _, errors = say("enqueue", study.name, "filters=8")
    assert code == 2
    assert "a configuration for a grid must name every searched knob, got none for learning_rate" in errors
    assert study.trials() == []
    assert say("enqueue", study.name, "filters=8", "lr=0.01")[0] == 0


def test_a_used_up_budget_is_told(say: Say, tmp_path: Path) -> None:
    spec = tiny_spec(trials=1)
    searched(tmp_path, spec)
    code, output, _ = say("enqueue", "tiny", "filters=8")
    assert (code, "budget is used up: run it with more --trials" in output) == (0, True)
    study = searched(tmp_path, spec.overridden(trials=2))
    assert study.trials()[1].params["filters"] == 8


@pytest.mark.slow
def test_a_run_at_work_tries_it_next(say: Say, tmp_path: Path) -> None:
    run = start_command(tmp_path, *RUN, "--trials", "4")
    try:
        wait_for_line(run, "epoch 1/")
        code, output, errors = say("enqueue", NAME, "filters=8", "learning_rate=0.0071")
        assert code == 0, errors
        run.communicate(timeout=DEADLINE)
    finally:
        run.kill()
    assert run.returncode == 0
    trials = json.loads(say("trials", NAME, "--json")[1])
    assert len(trials) == 4
    (number,) = [trial["number"] for trial in trials if trial["learning_rate"] == 0.0071]
    assert output == f"1 configuration will be tried next: trial {number}.\n"
