"""A search against a cost: its points are confirmed, retrained and tested in the one opening of the test split."""

import json
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.study import StudyDirection
from optuna.trial import TrialState

import search
from fmnist.config import TrialConfig
from fmnist.metrics import macro_f1, paired_difference
from search.dashboard.notes import study_note
from search.errors import SearchError
from search.executors import Event, Failed, Predicted, Task
from search.job.confirm import confirm
from search.job.evaluation import _owner
from search.job.final import make_final
from search.job.freezing import Freezing
from search.job.interrupt import Interrupt, InterruptedRunError
from search.job.point_finals import _pairs
from search.job.points import Scored, undominated
from search.job.progress.base import Progress
from search.job.search import optimize
from search.job.temperature import fitted_temperature
from search.report.facts import read_report
from search.report.render import headline, to_markdown
from search.report.validation import keep_predictions, predictions_path
from search.storage.trial_record import TrialRecord
from search.study.front import Front, point_folder, read_front
from search.study.ownership import claim_folder
from search.study.predictions import read_predictions
from search.study.records import Candidate, Confirmation, Final, FinalTrainings, Opening
from search.study.spec import StudySpec, load_spec
from search.study.study import Study
from search.study.trials import complete_trials, costs_of_trial, value_of
from tests.search.tiny import (
    CLASSES,
    CPU,
    PINNED,
    Inline,
    InterruptAfter,
    Say,
    in_database,
    made_once,
    run_command,
    small_source,
    stage,
)

TOML = """\
[search]
trials = 6
sampler = "gp"
pruner = "freeze-thaw"
against = ["parameters"]

[knobs]
epochs = 2
depth = 1
filters = [4, 8, 16]
batch_norm = true
pool = "before"
batch_size = 256
learning_rate = { low = 0.003, high = 0.01, log = true }

[confirm]
top = 1
seeds = 1

[final]
seeds = 2
points = 3
"""


def front_spec(*, trials: int = 8, **sections: Any) -> StudySpec:
    search = {"trials": trials, "sampler": "gp", "pruner": "freeze-thaw", "against": ["parameters"]}
    knobs = PINNED | {
        "epochs": 3,
        "filters": [4, 8, 16],
        "learning_rate": {"low": 0.003, "high": 0.03, "log": True},
    }
    values = {"name": "front", "search": search, "knobs": knobs, "confirm": {"top": 2, "seeds": 1}}
    return StudySpec.parse(values | {"final": {"seeds": 2, "points": 3}} | sections, context="test")


def searched(folder: Path, spec: StudySpec, places: int = 2) -> Study:
    study = in_database(folder, spec)
    optimize(stage(study, spec, Inline(places), Progress(), Interrupt()), CLASSES)
    return study


class Diverging(Inline):
    """An executor in which the final trainings of a trial diverge."""

    def __init__(self, trial: int) -> None:
        super().__init__()
        self.trial = trial

    def _train(self, task: Task) -> Iterator[Event]:
        if task.images == "full" and task.key.startswith(f"trial {self.trial},"):
            yield Failed(task.key, "diverged", "diverged: loss nan", 0.1)
            return
        yield from super()._train(task)


def test_a_trial_has_its_cost_as_a_value_and_optuna_knows_the_front(tmp_path: Path) -> None:
    study = searched(tmp_path, front_spec())
    assert study.optuna.directions == [StudyDirection.MAXIMIZE, StudyDirection.MINIMIZE]
    assert study.optuna.metric_names == ["macro F1", "parameters"]
    complete = complete_trials(study)
    assert len(complete) >= 2
    for trial in complete:
        assert costs_of_trial(study, trial.number) == (TrialRecord(trial).parameters,)
        assert value_of(trial) == trial.intermediate_values[3]
    own = undominated([Scored(one.number, value_of(one) or 0.0, costs_of_trial(study, one.number)) for one in complete])
    assert {entry.trial for entry in own} <= {trial.number for trial in study.optuna.best_trials}
    assert len({tuple(trial.values) for trial in study.optuna.best_trials}) == len(own)
    assert all(trial.state in (TrialState.COMPLETE, TrialState.PRUNED) for trial in study.trials())


def test_the_points_are_those_that_stay_best_on_fresh_seeds(tmp_path: Path) -> None:
    spec = front_spec()
    study = searched(tmp_path, spec)
    winner = confirm(stage(study, spec, Inline(2), Progress()))
    confirmation = study.read(Confirmation)
    assert confirmation is not None
    means = {candidate.trial: candidate.mean for candidate in confirmation.candidates}
    points = [(costs_of_trial(study, trial), means[trial]) for trial in confirmation.points]
    assert points == sorted(points)
    assert [mean for _, mean in points] == sorted(mean for _, mean in points)
    assert winner.trial == confirmation.points[-1] == confirmation.winner
    assert len(confirmation.temperatures) == len(points)


def spec_with_floor(floor: float) -> StudySpec:
    return front_spec(search=front_spec().search.model_dump() | {"floor": [floor]})


def test_networks_below_the_floor_count_as_of_one_cost(tmp_path: Path) -> None:
    spec = spec_with_floor(300)  # the widths 4, 8 and 16 have 94, 178 and 346 parameters
    study = searched(tmp_path, spec)
    freezing = Freezing(study, spec, CLASSES, print)
    counted = [freezing._costs({"filters": filters, "learning_rate": 0.01}) for filters in (4, 8, 16)]
    assert counted == [(300,), (300,), (346,)]
    complete = complete_trials(study)
    assert min(costs_of_trial(study, trial.number)[0] for trial in complete) < 300, "what it really costs"
    confirm(stage(study, spec, Inline(2), Progress()))
    confirmation = study.read(Confirmation)
    assert confirmation is not None
    small = [trial for trial in confirmation.points if costs_of_trial(study, trial)[0] < 300]
    assert len(small) <= 1


def test_a_floor_above_all_networks_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SearchError, match=r"floor must be below .* got 1,000,000: none costs more"):
        searched(tmp_path, spec_with_floor(10**6))


def test_the_floor_of_other_costs_is_taken_away(tmp_path: Path) -> None:
    spec = spec_with_floor(300)
    assert spec.overridden(against=["flops"]).search.floor == ()
    assert spec.overridden(against=["parameters"]).search.floor == (300,)
    assert spec.overridden(against=["flops,size"], floor=[1000, 2000.5]).search.floor == (1000, 2000.5)
    (tmp_path / "based.toml").write_text('base = "front"\n[search]\nagainst = ["flops"]\n')
    assert load_spec("front").search.floor
    (tmp_path / "same.toml").write_text('base = "front"\n[search]\nagainst = ["parameters"]\n')
    assert load_spec(str(tmp_path / "same.toml")).search.floor == load_spec("front").search.floor
    assert load_spec(str(tmp_path / "based.toml")).search.floor == ()


def test_the_trials_of_the_front_keep_their_predictions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("search.report.validation.BEST_SHOWN", 1)
    study = searched(tmp_path, front_spec(trials=10))
    complete = sorted(complete_trials(study), key=lambda trial: trial.number)
    labels, probabilities = np.zeros(4, np.int64), np.full((4, CLASSES), 1 / CLASSES, np.float32)
    for trial in complete:
        assert keep_predictions(study, trial.number, Predicted(f"trial {trial.number}", labels, probabilities)) == ""
    scored = [Scored(one.number, value_of(one) or 0.0, costs_of_trial(study, one.number)) for one in complete]
    front = {(entry.f1, entry.costs) for entry in undominated(scored)}
    assert len(front) >= 2
    kept = {entry.trial for entry in scored if predictions_path(study, entry.trial).exists()}
    assert kept == {entry.trial for entry in scored if (entry.f1, entry.costs) in front}


def test_a_point_keeps_the_temperature_that_it_has(tmp_path: Path) -> None:
    spec = front_spec(confirm={"top": 1, "seeds": 0})
    study = searched(tmp_path, spec)
    points = [
        Candidate(trial=trial.number, config=TrialConfig(), search_value=0.5) for trial in complete_trials(study)[:2]
    ]
    winner, other = (point.trial for point in points)
    before = Confirmation(
        candidates=tuple(points), winner=winner, temperature=1.5, points=(other, winner), temperatures=(1.2, 1.5)
    )
    at_work = stage(study, spec, Inline(2), Progress())
    assert [fitted_temperature(at_work, point, before) for point in points] == [1.5, 1.2]


@pytest.mark.parametrize("model", ["export", "final/seed-2000"])
def test_the_models_of_a_point_are_of_the_study(model: str, tmp_path: Path) -> None:
    study = in_database(tmp_path, front_spec())
    claim_folder(study)
    owner = _owner(point_folder(study, 7) / model)
    assert owner is not None
    assert owner.study == "front"


def test_a_point_of_two_costs_is_compared_with_one_that_costs_no_more_in_either() -> None:
    costs = {1: (10.0, 90.0), 2: (20.0, 80.0), 3: (30.0, 90.0), 4: (40.0, 10.0)}
    assert list(_pairs([1, 2, 3, 4], costs)) == [(3, 2)]
    assert list(_pairs([1, 2, 3], {number: cost[:1] for number, cost in costs.items()})) == [(2, 1), (3, 2)]


def test_the_floor_of_the_command_line_is_in_the_plan(say: Say, tmp_path: Path) -> None:
    (tmp_path / "front.toml").write_text(TOML)
    run = ("run", "front.toml", "--data", "synthetic", "--dry-run")
    code, output, errors = say(*run, "--floor", "2000")
    assert code == 0, errors
    assert "parameters from 2,000: the best F1 at every cost" in " ".join(output.split())
    code, _, errors = say(*run, "--floor", "2000,3000")
    assert code == 2
    assert "one number for each cost under against" in errors


def test_all_points_are_tested_in_one_opening_with_figures_of_their_own_models(tmp_path: Path) -> None:
    spec, source = front_spec(), small_source(tmp_path)
    study = searched(tmp_path, spec)
    at_work = stage(study, spec, Inline(2), Progress())
    final = make_final(at_work, confirm(at_work), source, CPU)
    points = read_front(study)
    assert len(points) >= 2
    assert [opening.by for opening in study.read_all(Opening)] == ["final"]
    assert [point.final for point in points if point.is_winner] == [final]
    predicted = {}
    for point in points:
        folder = study.folder if point.is_winner else point_folder(study, point.trial)
        stored = read_predictions(folder, point.final)
        assert stored is not None
        predicted[point.trial] = stored
        assert point.costs == (float(point.final.parameters),)
        assert [run.seed for run in point.final.runs] == [2000, 2001]
        for run, row in zip(point.final.runs, stored.predicted, strict=True):
            assert run.macro_f1 == pytest.approx(macro_f1(stored.labels, row, CLASSES))
            assert (study.folder / run.folder).is_dir()
    for cheaper, dearer in pairwise(points):
        first, second = predicted[dearer.trial], predicted[cheaper.trial]
        by = paired_difference(first.labels, first.predicted, second.predicted, CLASSES)
        assert dearer.step is not None
        assert (dearer.step.difference, dearer.step.low, dearer.step.high) == (by.value, by.low, by.high)
        assert dearer.step.cheaper == cheaper.trial


def test_an_interrupted_final_stage_trains_no_point_twice_and_opens_nothing(tmp_path: Path) -> None:
    spec, source = front_spec(), small_source(tmp_path)
    study = searched(tmp_path, spec)
    winner = confirm(stage(study, spec, Inline(2), Progress()))
    first, interrupt = Inline(1), Interrupt()
    with pytest.raises(InterruptedRunError):
        make_final(stage(study, spec, first, InterruptAfter(interrupt, 11), interrupt), winner, source, CPU)
    done = study.read(FinalTrainings)
    assert done is not None
    assert len(done.runs) == 2
    assert len(done.points) == 1
    assert not study.read_all(Opening)
    resumed = in_database(tmp_path, spec)
    second = Inline(1)
    make_final(stage(resumed, spec, second, Progress()), winner, source, CPU)
    whole = {f"trial {done.points[0].trial}, seed {done.points[0].seed}", "seed 2000", "seed 2001"}
    assert whole.isdisjoint(task.key for task in second.trained)
    assert len(read_front(resumed)) >= 2


def test_a_point_that_diverges_has_no_result_and_is_named(tmp_path: Path) -> None:
    spec, source = front_spec(), small_source(tmp_path)
    study = searched(tmp_path, spec)
    winner = confirm(stage(study, spec, Inline(2), Progress()))
    confirmation = study.read(Confirmation)
    assert confirmation is not None
    lost = confirmation.points[0]
    assert lost != winner.trial
    make_final(stage(study, spec, Diverging(lost), Progress()), winner, source, CPU)
    front = study.read(Front)
    assert front is not None
    assert lost not in front.points
    assert [dropped.trial for dropped in front.diverged] == [lost]
    assert f"Trial {lost} of the front has no result: diverged: loss nan" in to_markdown(read_report(study))


def test_without_fresh_seeds_the_front_of_the_search_is_retrained(tmp_path: Path) -> None:
    spec = front_spec(confirm={"top": 1, "seeds": 0})
    study = searched(tmp_path, spec)
    winner = confirm(stage(study, spec, Inline(2), Progress()))
    confirmation = study.read(Confirmation)
    assert confirmation is not None
    assert confirmation.points[-1] == winner.trial == complete_trials(study)[0].number


@pytest.mark.parametrize(
    ("sections", "says"),
    [
        ({"search": {"trials": 5, "against": ["parameters"]}}, 'pruner = "freeze-thaw" if it is against a cost'),
        ({"search": {"trials": 5, "sampler": "gp", "pruner": "freeze-thaw"}}, "neither points nor loss unless"),
        (
            {"search": {"trials": 5, "sampler": "gp", "pruner": "freeze-thaw", "floor": [1]}, "final": {}},
            "whose floor has one number for each cost",
        ),
        ({"budget": {"target": 0.9}}, "without against if [budget] has a target"),
        ({"final": {"distil": True}}, "distil = false if the search is against a cost"),
    ],
)
def test_what_a_front_cannot_have_is_refused(sections: dict[str, Any], says: str) -> None:
    with pytest.raises(SearchError) as refused:
        front_spec(**sections)
    assert says in str(refused.value)


def test_a_study_of_one_result_does_not_become_a_front(tmp_path: Path) -> None:
    spec = front_spec()
    searched(tmp_path, spec)
    other = spec.model_dump()
    other["search"]["against"], other["final"] = (), {"seeds": 2}
    with pytest.raises(SearchError, match="exists with another set-up"):
        in_database(tmp_path, StudySpec.parse(other, context="test"))


def make_front(folder: Path) -> None:
    (folder / "front.toml").write_text(TOML)
    done = run_command(folder, "run", "front.toml", "--data", "synthetic", "--workers", "2")
    assert done.returncode == 0, done.stderr
    (folder / "output").write_text(done.stdout)


@pytest.fixture(scope="module")
def whole_front(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """A folder with a study against parameters that the command ran to its end."""
    return made_once(tmp_path_factory, worker_id, "front", make_front)


@pytest.fixture(autouse=True)
def folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("search.job.freezing.SHARE", 1.0)  # a verdict after each epoch, however busy the machine is


@pytest.mark.process
def test_the_command_reports_and_exports_the_front(
    whole_front: Path, tmp_path: Path, say: Say, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path
    monkeypatch.chdir(whole_front)
    folder = whole_front / "studies" / "front-synthetic"
    report = json.loads((folder / "report.json").read_text())
    points = report["front"]
    assert len(points) >= 2
    assert "It is the best of a front of " in (whole_front / "output").read_text()
    assert "## Front, on the test split" in (folder / "report.md").read_text()
    assert "Macro F1 over parameters: the front" in (folder / "report.html").read_text()
    for point in points:
        assert (folder / point["folder"] / "export" / "model.onnx").exists()
    small, best = points[0], points[-1]
    code, output, errors = say("export", "--point", small["trial"], "--to", target / "small", "--format", "onnx")
    assert code == 0, errors
    assert (target / "small" / "model.onnx").exists()
    code, _, errors = say("export", "--point", 77, "--to", target / "none")
    assert code == 2
    assert "A point is the number of a trial of the study's front, got 77" in errors
    code, output, _ = say("best", "front-synthetic", "--max-params", small["parameters"])
    assert f"max_params {small['parameters']:,}" in output
    code, output, _ = say("best", "front-synthetic", "--max-params", 10**9)
    assert f"Trial {best['trial']} " in output
    code, _, errors = say("best", "front-synthetic", "--max-params", 3)
    assert code == 2
    assert "No complete trial of the study 'front-synthetic' is within max_params 3" in errors


@pytest.mark.process
def test_from_python_the_front_is_at_hand(whole_front: Path) -> None:
    study = search.load("front-synthetic", home=whole_front / "studies")
    points = study.front
    assert [point.is_winner for point in points] == [False] * (len(points) - 1) + [True]
    assert points[-1].final == study.final
    assert "the front" in str(study.plot("front").layout.title.text)


@pytest.mark.process
def test_the_command_plans_a_front_and_a_finished_one_trains_nothing(
    whole_front: Path, say: Say, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(whole_front)
    code, output, errors = say("run", "front.toml", "--data", "synthetic", "--dry-run")
    assert code == 0, errors
    told = " ".join(output.split())
    assert "Against parameters: the best F1 at every cost" in told
    assert "2 seeds of 2 epochs for each of at most 3 points of the front" in told
    assert "nothing will be trained" in told
    for command in ("status", "trials", "report"):
        assert say(command)[0] == 0


def test_the_headline_says_that_the_result_is_of_a_front(tmp_path: Path) -> None:
    spec, source = front_spec(), small_source(tmp_path)
    study = searched(tmp_path, spec)
    at_work = stage(study, spec, Inline(2), Progress())
    make_final(at_work, confirm(at_work), source, CPU)
    points = read_front(study)
    report = read_report(study)
    told = headline(report)
    costs = [point.final.parameters for point in points]
    assert f"a front of {len(points)} tested points with {min(costs):,} to {max(costs):,} parameters" in told
    note = study_note(report, study.id, [])
    for point in points:
        assert f"trials?numbers={point.trial}): {point.final.parameters:,} parameters; {point.final.mean:.4f} (" in note


def test_plain_optuna_reads_the_study(tmp_path: Path) -> None:
    study = searched(tmp_path, front_spec())
    plain = optuna.load_study(study_name="front", storage=f"sqlite:///{tmp_path}/studies/fmnist.db")
    assert len(plain.best_trials) >= 1
    assert study.read(Final) is None
