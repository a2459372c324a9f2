"""What other programs do to a study between two runs, or during one: their trials count nowhere unless they can be
used.
"""

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import TrialState, create_trial

from search.errors import StudyDeletedError
from search.job.confirm import confirm
from search.job.interrupt import Interrupt
from search.job.progress.base import Progress
from search.job.search import optimize
from search.storage.opening import open_storage
from search.storage.rows import append_entry
from search.storage.trial_record import CONFIG
from search.study.budget import is_searched
from search.study.records import Opening
from search.study.spec import StudySpec
from search.study.study import Study
from search.study.trials import finished_trials
from tests.search.tiny import (
    CLASSES,
    DEADLINE,
    NAME,
    RUN,
    TOML,
    Inline,
    Say,
    in_database,
    run_command,
    stage,
    start_command,
    tiny_spec,
    wait_for_line,
)

pytestmark = pytest.mark.slow

URL = "sqlite:///studies/fmnist.db"
CHOICES = CategoricalDistribution(("a", 9))  # of another space than the study's `filters`


class Told(Progress):
    """Remembers what a person was told."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def message(self, text: str, *, is_alarm: bool = False) -> None:  # noqa: ARG002
        self.texts.append(text)


def plain(folder: Path, name: str = "tiny") -> optuna.Study:
    """The study as another program opens it."""
    return optuna.load_study(study_name=name, storage=f"sqlite:///{folder}/studies/fmnist.db")


def searched(folder: Path, spec: StudySpec) -> tuple[Study, Told]:
    study, told = in_database(folder, spec), Told()
    optimize(stage(study, spec, Inline(), told, Interrupt()), CLASSES)
    return study, told


def add_result(study: optuna.Study) -> None:
    study.add_trial(create_trial(value=0.999, intermediate_values={1: 0.999}))


def add_result_of_another_space(study: optuna.Study) -> None:
    study.add_trial(create_trial(value=0.999, params={"filters": "a"}, distributions={"filters": CHOICES}))


def ask_and_tell(study: optuna.Study) -> None:
    study.tell(study.ask({"learning_rate": FloatDistribution(5.0, 9.0, log=True)}), 0.999)


@pytest.mark.slow
@pytest.mark.parametrize("interfere", [add_result, ask_and_tell])
@pytest.mark.parametrize("sampler", ["tpe", "random", "cmaes", "nsga2"])
def test_a_result_that_another_program_added_counts_nowhere(
    sampler: str, interfere: Callable[[optuna.Study], None], say: Say, tmp_path: Path
) -> None:
    searched(tmp_path, tiny_spec(trials=2, sampler=sampler))
    interfere(plain(tmp_path))
    spec = tiny_spec(trials=4, sampler=sampler)
    study, told = searched(tmp_path, spec)
    assert told.texts == ["Another program added trials without a configuration, which do not count: 2."]
    assert [trial.number for trial in finished_trials(study)] == [0, 1, 3, 4]
    assert is_searched(study, spec)
    assert confirm(stage(study, spec, Inline(), Progress(), Interrupt())).trial != 2
    (row,) = json.loads(say("status", "--json")[1])
    assert (row["done"], row["budget"], row["best_trial"] != 2, row["best"] < 0.99) == (4, 4, True, True)
    found = json.loads(say("report", "tiny", "--json")[1])
    assert found["states"]["complete"] == 4
    assert 2 not in [trial["number"] for trial in found["best"]]
    assert say("best", "tiny")[0] == 0
    listed = json.loads(say("trials", "tiny", "--sort", "value", "--json")[1])
    assert [(row["state"], row["value"]) for row in listed if row["number"] == 2] == [("foreign", None)]


def test_a_result_of_another_space_that_was_there_first_hinders_no_trial(tmp_path: Path) -> None:
    in_database(tmp_path, tiny_spec(sampler="tpe"))
    add_result_of_another_space(plain(tmp_path))
    study, _ = searched(tmp_path, tiny_spec(trials=2, sampler="tpe"))
    assert [trial.number for trial in finished_trials(study)] == [1, 2]
    assert {name for trial in plain(tmp_path).trials[1:] for name in trial.params} == {"filters", "learning_rate"}


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"filters": 5}, "filters must be one of 4, 8, got 5"),
        ({"learning_rate": 0.5}, "learning_rate must be from 0.003 to 0.03, got 0.5"),
        ({"learning_rate": "fast"}, "learning_rate must be from 0.003 to 0.03, got 'fast'"),
        ({"depth": 3}, "depth must be 1, its pinned value, got 3"),
        ({"filterz": 4}, "there is no knob 'filterz'"),
    ],
)
def test_a_trial_that_was_enqueued_with_what_is_not_of_the_space_fails_with_its_reason(
    given: dict[str, Any], says: str, say: Say, tmp_path: Path
) -> None:
    searched(tmp_path, tiny_spec(trials=1))
    plain(tmp_path).enqueue_trial(given)
    study, told = searched(tmp_path, tiny_spec(trials=2))
    assert any(says in text for text in told.texts)
    assert [trial.state for trial in plain(tmp_path).trials] == [
        TrialState.COMPLETE,
        TrialState.FAIL,
        TrialState.COMPLETE,
    ]
    assert [trial.number for trial in finished_trials(study)] == [0, 2]
    assert says in say("show", "1", "--study", "tiny")[1]
    assert [trial.number for trial in finished_trials(in_database(tmp_path, tiny_spec(trials=2)))] == [0, 2]


def test_a_trial_that_was_enqueued_within_the_space_is_trained(tmp_path: Path) -> None:
    searched(tmp_path, tiny_spec(trials=1))
    plain(tmp_path).enqueue_trial({"filters": 8, "depth": 1})
    study, _ = searched(tmp_path, tiny_spec(trials=2))
    assert study.optuna.trials[1].state == TrialState.COMPLETE
    assert study.optuna.trials[1].system_attrs[CONFIG]["filters"] == 8


def test_a_grid_fails_an_enqueued_trial_that_does_not_say_all(tmp_path: Path) -> None:
    spec = tiny_spec(trials=2, sampler="grid", learning_rate=[0.01, 0.02], filters=[4, 8])
    searched(tmp_path, spec)
    plain(tmp_path).enqueue_trial({"filters": 8})
    study, told = searched(tmp_path, spec.overridden(trials=4))
    assert "All parameters must be specified" in "".join(told.texts)
    assert [trial.state for trial in study.optuna.trials][2] == TrialState.FAIL


def test_a_grid_trains_all_its_points_whatever_another_program_adds(tmp_path: Path) -> None:
    spec = tiny_spec(trials=4, sampler="grid", learning_rate=[0.01, 0.02], filters=[4, 8])
    searched(tmp_path, spec.overridden(trials=2))
    add_result(plain(tmp_path))
    study, _ = searched(tmp_path, spec)
    points = [tuple(trial.params.values()) for trial in finished_trials(study)]
    assert len(points) == len(set(points)) == 4
    assert is_searched(study, spec)


def test_a_trial_that_is_enqueued_once_the_budget_is_used_up_is_not_begun(tmp_path: Path) -> None:
    spec = tiny_spec(trials=2)
    searched(tmp_path, spec)
    plain(tmp_path).enqueue_trial({"filters": 8})
    assert is_searched(in_database(tmp_path, spec), spec), "a finished study stays so"
    study, _ = searched(tmp_path, spec)
    for each in (study, in_database(tmp_path, spec)):
        assert [trial.number for trial in finished_trials(each)] == [0, 1]
        assert each.optuna.trials[2].user_attrs["reason"] == "the study's budget of trials is used up"
    assert is_searched(study, spec)


@pytest.mark.process
def test_the_command_goes_on_after_another_programs_trials(tmp_path: Path) -> None:
    (tmp_path / "tiny.toml").write_text(TOML)
    first = start_command(tmp_path, *RUN)
    wait_for_line(first, "trial 0, epoch 1")
    first.send_signal(signal.SIGINT)
    first.communicate(timeout=DEADLINE)
    study = plain(tmp_path, NAME)
    study.add_trial(create_trial(value=0.999))
    study.enqueue_trial({"filters": 5})
    done = run_command(tmp_path, *RUN)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "without a configuration, which do not count: " in done.stdout
    assert "filters must be one of 4, 8, got 5" in done.stdout


class Deletes(Progress):
    """Another program deletes the study once the first epoch is shown."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def epoch(self, label: str, number: int, macro_f1: float | None, images_per_second: float) -> None:  # noqa: ARG002
        if "tiny" in optuna.get_all_study_names(url := f"sqlite:///{self.folder}/studies/fmnist.db"):
            optuna.delete_study(study_name="tiny", storage=url)


def test_a_study_that_is_deleted_during_a_run_ends_it_in_one_sentence_and_leaves_nothing_behind(tmp_path: Path) -> None:
    study = in_database(tmp_path, tiny_spec())
    with pytest.raises(StudyDeletedError, match="was deleted by another program") as caught:
        optimize(stage(study, tiny_spec(), Inline(), Deletes(tmp_path), Interrupt()), CLASSES)
    assert len(str(caught.value).splitlines()) == 1
    study, _ = searched(tmp_path, tiny_spec())
    assert [trial.state for trial in study.optuna.trials] == [TrialState.COMPLETE] * 3


def test_a_study_of_several_objectives_is_refused_in_one_sentence(say: Say, tmp_path: Path) -> None:
    (tmp_path / "studies").mkdir()
    study = optuna.create_study(study_name="two", storage=URL, directions=["minimize", "maximize"])
    study.add_trial(create_trial(values=[1.0, 2.0]))
    for command in (
        ("report", "two"),
        ("best", "two"),
        ("report",),
        ("export", "two"),
        ("ablate", "two", "--data", "synthetic"),
    ):
        code, output, errors = say(*command)
        assert (code, output) == (2, ""), command
        assert "A study must have one objective, which is maximized, got minimize, maximize in 'two'" in errors
    assert say("status")[0] == 0
    optuna.create_study(study_name="empty", storage=URL, directions=["minimize", "maximize"])
    code, _, errors = say("run", "tiny.toml", "--data", "synthetic", "--name", "empty", "--dry-run")
    assert (code, "was not made by fmnist-search" in errors) == (2, True)


APPENDS = """\
import sys
from search.study.records import Opening
from search.storage.opening import open_storage
from search.study.study import load_study
study = load_study(open_storage(sys.argv[1], create=False), "tiny")
for _ in range(30):
    study.append(Opening(at="2025-01-01", by=sys.argv[2], trial=None))
"""


@pytest.mark.process
def test_what_several_processes_append_at_once_is_all_there(tmp_path: Path) -> None:
    in_database(tmp_path, tiny_spec())
    url = f"sqlite:///{tmp_path}/studies/fmnist.db"
    running = [
        subprocess.Popen([sys.executable, "-c", APPENDS, url, str(number)], stderr=subprocess.PIPE)
        for number in range(4)
    ]
    for process in running:
        _, errors = process.communicate(timeout=DEADLINE)
        assert process.returncode == 0, errors
    openings = plain(tmp_path).user_attrs["openings"]
    assert sorted(each["by"] for each in openings) == sorted("0123" * 30)


def test_an_append_that_is_carried_out_twice_is_there_once(tmp_path: Path) -> None:
    study = in_database(tmp_path, tiny_spec())
    study.append(Opening(at="2025-01-01", by="evaluate", trial=None))
    kept = plain(tmp_path).user_attrs["openings"]
    backend = open_storage(f"sqlite:///{tmp_path}/studies/fmnist.db", create=False).backend
    append_entry(backend, study.optuna._study_id, "openings", kept[0])
    assert plain(tmp_path).user_attrs["openings"] == kept
