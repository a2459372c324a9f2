"""Limits on a network's size and speed, and failures that the sampler learns from."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
import torch
from optuna.trial import FrozenTrial, TrialState
from optuna_dashboard._serializer import serialize_frozen_trial

from fmnist.config import TrialConfig
from fmnist.network import describe
from search.errors import SearchError
from search.executors import Event, Failed, Measured, Task
from search.executors.training import Setup, events_of, load_material
from search.job.failures import MOST_FAILURES, MOST_REFUSED
from search.job.interrupt import Interrupt
from search.job.objective import Objective
from search.job.progress.base import Progress
from search.job.search import optimize
from search.storage.opening import open_storage
from search.storage.trial_record import CONFIG, REFUSED
from search.study.budget import is_searched
from search.study.limits import DASHBOARD_KEY
from search.study.spec import StudySpec
from search.study.study import Study, load_study
from search.study.trials import finished_trials
from tests.search.tiny import (
    CLASSES,
    CPU,
    SPLITS,
    TOML,
    Inline,
    in_database,
    run_command,
    small_source,
    stage,
    tiny_spec,
)

pytestmark = pytest.mark.slow

WIDTHS: dict[str, Any] = {"filters": {"low": 4, "high": 32}}


def limited(spec: StudySpec, **limits: Any) -> StudySpec:
    return spec.overridden(**limits)


def searched(folder: Path, spec: StudySpec, executor: Inline | None = None) -> Study:
    study = in_database(folder, spec)
    optimize(stage(study, spec, executor or Inline(), Progress(), Interrupt()), CLASSES)
    return study


def config_of(trial: FrozenTrial) -> TrialConfig:
    return TrialConfig.parse(trial.system_attrs[CONFIG], context="trial")


class Fails(Inline):
    """Every training fails in that way."""

    def __init__(self, kind: Any, reason: str) -> None:
        super().__init__()
        self.kind, self.reason = kind, reason

    def _train(self, task: Task) -> Iterator[Event]:
        yield Failed(task.key, self.kind, self.reason, 0.1)


class Timed(Inline):
    """Measures a latency of a millisecond for every four filters."""

    def _train(self, task: Task) -> Iterator[Event]:
        assert task.max_latency_ms is not None
        latency = task.config.filters / 4
        yield Measured(task.key, latency)
        if latency > task.max_latency_ms:
            yield Failed(task.key, "latency", "too slow", 0.1)
        else:
            yield from super()._train(task)


@pytest.mark.parametrize("sampler", ["random", "tpe", "cmaes", "nsga2", "gp"])
def test_no_network_over_a_limit_is_trained_and_the_budget_is_of_those_within(tmp_path: Path, sampler: str) -> None:
    spec = limited(tiny_spec(trials=5, sampler=sampler, epochs=1, **WIDTHS), max_params=250)
    executor = Inline()
    study = searched(tmp_path, spec, executor)
    assert is_searched(study, spec)
    assert len(executor.trained) == 5
    assert all(describe(task.config, CLASSES).parameters <= 250 for task in executor.trained)
    assert [trial.state for trial in finished_trials(study)] == [TrialState.COMPLETE] * 5
    refused = [trial for trial in study.optuna.trials if trial.user_attrs.get(REFUSED)]
    assert refused
    for trial in study.optuna.trials:
        count = describe(config_of(trial), CLASSES).parameters
        assert trial.constraints["max_params"] == pytest.approx(count / 250 - 1)
        assert (trial in refused) == (count > 250)
    assert refused[0].state == TrialState.PRUNED
    assert (
        refused[0].user_attrs["reason"]
        == f"max_params {describe(config_of(refused[0]), CLASSES).parameters:,}, over 250"
    )


def test_the_dashboard_sees_which_trials_are_over_a_limit(tmp_path: Path) -> None:
    spec = limited(tiny_spec(trials=2, epochs=1, **WIDTHS), max_params=250, max_size=1200)
    searched(tmp_path, spec)
    study = load_study(open_storage(f"sqlite:///{tmp_path}/studies/fmnist.db", create=False), "tiny")
    for trial in study.optuna.trials:
        shown = serialize_frozen_trial(
            study.optuna._study_id, trial, study.optuna._storage.get_study_system_attrs(study.optuna._study_id)
        )["constraints"]
        assert (
            shown
            == trial.system_attrs[DASHBOARD_KEY]
            == [trial.system_attrs[f"constraints:{name}"] for name in ("max_params", "max_size")]
        )
        assert any(value > 0 for value in shown) == trial.user_attrs.get(REFUSED, False)
    assert study.optuna.best_trial in finished_trials(study)


def with_student(spec: StudySpec, **changes: Any) -> StudySpec:
    final = {"seeds": 1, "distil": True, "student": changes}
    return StudySpec.parse(spec.model_dump() | {"final": final}, context="tiny")


def test_limits_concern_the_student_of_a_trial(tmp_path: Path) -> None:
    spec = with_student(limited(tiny_spec(trials=3, epochs=1, depth=[1, 2], **WIDTHS), max_params=250), filters=4)
    study = searched(tmp_path, spec, executor := Inline())
    assert any(describe(task.config, CLASSES).parameters > 250 for task in executor.trained)
    assert {config_of(trial).depth for trial in study.optuna.trials if trial.user_attrs.get(REFUSED)} <= {2}
    for trial in study.optuna.trials:
        student = config_of(trial).model_copy(update={"filters": 4})
        assert trial.constraints["max_params"] == pytest.approx(describe(student, CLASSES).parameters / 250 - 1)


def test_the_latency_of_the_student_is_what_a_worker_measures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = with_student(limited(tiny_spec(trials=1, epochs=1, filters=8), max_latency_ms=3), filters=4)
    searched(tmp_path, spec, executor := Timed())
    (task,) = executor.trained
    assert task.deployed == task.config.model_copy(update={"filters": 4})
    widths: list[int] = []

    def latency(model: Any, *_: Any) -> float:
        widths.append(model.stages[0].conv.out_channels)
        return 5.0

    monkeypatch.setattr("search.executors.training.latency_ms", latency)
    setup = Setup(small_source(tmp_path / "images"), 0, "cpu", torch.get_num_threads())
    measured, refused = events_of(task, setup, load_material(setup), lambda _: None)
    assert (widths, measured) == ([4], Measured(task.key, 5.0))
    assert isinstance(refused, Failed)
    assert refused.kind == "latency"


def test_the_plain_callable_limits_the_student_as_well() -> None:
    spec = with_student(limited(tiny_spec(trials=1, epochs=1, filters=32), max_params=250), filters=4)
    refused = optuna.create_study(direction="maximize")
    refused.optimize(Objective(spec.space, SPLITS, CPU, limits=spec.limits), n_trials=1)
    trained = optuna.create_study(direction="maximize")
    trained.optimize(Objective(spec.space, SPLITS, CPU, limits=spec.limits, final=spec.final), n_trials=1)
    assert (refused.trials[0].state, trained.trials[0].state) == (TrialState.PRUNED, TrialState.COMPLETE)


@pytest.mark.slow
@pytest.mark.parametrize("sampler", ["tpe", "gp"])
def test_it_learns_to_stay_within_a_limit(tmp_path: Path, sampler: str) -> None:
    def refused(sampler: str) -> int:
        spec = limited(tiny_spec(trials=12, sampler=sampler, epochs=1, filters={"low": 4, "high": 64}), max_params=250)
        study = searched(tmp_path / sampler, spec)
        return sum(REFUSED in trial.user_attrs for trial in study.optuna.trials)

    assert refused(sampler) < refused("random") / 2


def test_a_measured_latency_is_a_constraint_of_every_trial(tmp_path: Path) -> None:
    spec = limited(tiny_spec(trials=6, epochs=1, filters=[4, 8, 12, 16]), max_latency_ms=2.5)
    study = searched(tmp_path, spec, Timed())
    assert {trial.state for trial in study.optuna.trials} == {TrialState.COMPLETE, TrialState.PRUNED}
    for trial in study.optuna.trials:
        value = trial.constraints["max_latency_ms"]
        assert value == pytest.approx(config_of(trial).filters / 4 / 2.5 - 1)
        assert (trial.state == TrialState.PRUNED) == (value > 0)


@pytest.mark.parametrize("places", [1, 3, 6])
@pytest.mark.parametrize("limit", [2.0, 10.0])
def test_networks_that_are_too_slow_use_up_no_budget_and_are_no_failures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: float, places: int
) -> None:
    """Within 2 ms is one network of fifteen: long rows of those that are not come before most of them."""
    spec = limited(
        tiny_spec(trials=4, sampler="random", epochs=1, filters={"low": 4, "high": 80}), max_latency_ms=limit
    )
    monkeypatch.setattr(
        "search.job.loop.RETRY_SECONDS", 0.0
    )  # so that it asks between what a worker measured and its refusal
    study = searched(tmp_path, spec, Timed(places))
    assert is_searched(study, spec)
    assert [trial.state for trial in finished_trials(study)] == [TrialState.COMPLETE] * 4
    refused = [trial for trial in study.optuna.trials if trial.user_attrs.get(REFUSED)]
    assert len(refused) == len(study.optuna.trials) - 4
    assert len(refused) > (MOST_FAILURES if limit == 2 else 0)
    assert {trial.user_attrs["reason"] for trial in refused} == {"too slow"}


def test_where_no_network_is_fast_enough_the_run_stops_with_the_reason(tmp_path: Path) -> None:
    spec = limited(tiny_spec(trials=5, sampler="random", epochs=1, **WIDTHS), max_latency_ms=0.5)
    says = rf"{MOST_REFUSED} proposed networks in a row were over a limit. The last one: too slow\. Raise"
    with pytest.raises(SearchError, match=says):
        searched(tmp_path, spec, Timed())
    assert not finished_trials(in_database(tmp_path, spec))


def test_where_hardly_a_network_is_within_the_limit_the_run_stops_with_the_reason(tmp_path: Path) -> None:
    spec = limited(tiny_spec(trials=5), max_params=1)
    executor = Inline()
    with pytest.raises(
        SearchError,
        match=rf"{MOST_REFUSED} proposed networks in a row .*\. The last one: max_params .*, over 1\. Raise",
    ):
        searched(tmp_path, spec, executor)
    assert not executor.trained
    assert not finished_trials(in_database(tmp_path, spec))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "state", "words"),
    [
        ("diverged", TrialState.PRUNED, "10 diverged"),
        ("memory", TrialState.PRUNED, "10 ran out of memory"),
        ("error", TrialState.FAIL, "10 ended with an error"),
    ],
)
def test_ten_failures_in_a_row_stop_the_run_with_the_common_cause(
    tmp_path: Path, kind: str, state: TrialState, words: str
) -> None:
    spec = tiny_spec(trials=50)
    cause = "out of memory on cpu"
    with pytest.raises(
        SearchError,
        match=rf"{MOST_FAILURES} trials in a row failed: {words}. Most often \(10 times\): {cause}: 7 bytes",
    ):
        searched(tmp_path, spec, Fails(kind, f"{cause}: 7 bytes"))
    study = in_database(tmp_path, spec)
    assert [trial.state for trial in study.optuna.trials] == [state] * MOST_FAILURES
    for trial in study.optuna.trials:
        assert trial.constraints.get(kind) == (None if kind == "error" else 1.0)
    assert len(searched(tmp_path, spec).optuna.trials) == 50  # the cause was mended, the same command goes on


def test_failures_between_which_trials_succeed_stop_nothing(tmp_path: Path) -> None:
    class Every(Inline):
        def _train(self, task: Task) -> Iterator[Event]:
            if len(self.trained) % MOST_FAILURES:
                yield Failed(task.key, "memory", "out of memory", 0.1)
            else:
                yield from super()._train(task)

    assert (
        len(searched(tmp_path, tiny_spec(trials=3 * MOST_FAILURES, epochs=1), Every()).optuna.trials)
        == 3 * MOST_FAILURES
    )


def test_any_number_of_pruned_trials_in_a_row_is_no_failure(tmp_path: Path) -> None:
    spec = tiny_spec(trials=MOST_FAILURES + 2, epochs=2)
    study = in_database(tmp_path, spec)
    study.optuna.pruner = optuna.pruners.ThresholdPruner(lower=2.0)  # no macro F1 is as high
    optimize(stage(study, spec, Inline(), Progress(), Interrupt()), CLASSES)
    assert [trial.state for trial in study.optuna.trials] == [TrialState.PRUNED] * (MOST_FAILURES + 2)


@pytest.mark.slow
def test_limits_on_the_command_line(tmp_path: Path) -> None:
    (tmp_path / "tiny.toml").write_text(TOML)
    limits = ("--max-params", "10000", "--max-size", "100000", "--max-latency-ms", "1000")
    done = run_command(tmp_path, "run", "tiny.toml", "--data", "synthetic", "--workers", "1", *limits)
    assert done.returncode == 0, done.stderr
    study = load_study(open_storage(f"sqlite:///{tmp_path}/studies/fmnist.db", create=False), "tiny-synthetic")
    assert len(finished_trials(study)) == 3
    for trial in finished_trials(study):
        assert {"max_params", "max_size", "max_latency_ms"} <= set(trial.constraints)
        assert all(value <= 0 for value in trial.constraints.values())
    metrics = json.loads((tmp_path / "studies" / "tiny-synthetic" / "export" / "metrics.json").read_text())
    assert metrics["parameters"] <= 10000
    again = run_command(tmp_path, "run", "tiny.toml", "--data", "synthetic", "--workers", "1", "--max-params", "9000")
    assert again.returncode == 2
    assert "limits.max_params = 9000" in again.stderr


@pytest.mark.process
def test_a_study_of_hopeless_networks_is_refused_before_it_starts(tmp_path: Path) -> None:
    huge = [
        f"{knob}={value}"
        for knob, value in {"depth": 4, "blocks": 4, "filters": 512, "growth": 4.0, "batch_size": 4096}.items()
    ]
    settings = [part for setting in huge for part in ("--set", setting)]
    refused = run_command(tmp_path, "run", "quick", "--data", "synthetic", *settings)
    assert refused.returncode == 2
    assert "A training of this study takes at least" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        ({"max_params": 0}, "limits.max_params"),
        ({"max_size": -1}, "limits.max_size"),
        ({"max_latency_ms": 0}, "limits.max_latency_ms"),
        ({"max_parms": 3}, "Did you mean 'max_params'"),
    ],
)
def test_wrong_limits_are_refused(limits: dict[str, Any], said: str) -> None:
    values = tiny_spec().model_dump() | {"limits": limits}
    with pytest.raises(SearchError, match=said):
        StudySpec.parse(values, context="tiny.toml")


def test_the_grid_ends_although_some_of_its_points_are_over_a_limit(tmp_path: Path) -> None:
    spec = limited(
        tiny_spec(trials=50, sampler="grid", epochs=1, filters=[4, 8, 16], learning_rate=0.01), max_params=200
    )
    study = searched(tmp_path, spec)
    assert sorted(config_of(trial).filters for trial in study.optuna.trials) == [4, 8, 16]
    assert is_searched(study, spec)
