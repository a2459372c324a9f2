"""A search against latency: its costs come from networks that were measured before it began."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fmnist.config import TrialConfig
from fmnist.predict import latency_ms
from search.errors import SearchError
from search.job.freezing import Freezing
from search.job.interrupt import Interrupt
from search.job.latency import error_of_unseen, fitted, learn_latency
from search.job.place import choose_place
from search.job.progress.base import Progress
from search.job.search import optimize
from search.study.costs import cost_function
from search.study.extension import require_extensible
from search.study.front import LatencyModel
from search.study.trials import complete_trials, costs_of_trial
from tests.search.job.test_front import TOML, front_spec
from tests.search.tiny import CLASSES, Inline, Say, in_database, run_command, stage

SEARCH = {"trials": 4, "sampler": "gp", "pruner": "freeze-thaw", "against": ["latency_ms"]}
VERSION = "1.0"
PLACE = replace(choose_place({"device": "cpu"}), threads=1)


@given(seed=st.integers(0, 10**6), networks=st.integers(8, 40))
def test_latencies_that_are_sums_over_layers_are_predicted_exactly(seed: int, networks: int) -> None:
    rng = np.random.default_rng(seed)
    milliseconds = rng.uniform(0.1, 1, 3) * [0.1, 0.05, 1e-7]
    parts = np.column_stack([np.ones(networks), rng.uniform(2, 20, networks), rng.uniform(1e5, 1e8, networks)])
    measured = parts @ milliseconds
    assert parts @ fitted(parts, measured) == pytest.approx(measured, rel=1e-4)
    error = error_of_unseen(parts, measured)
    assert error is not None
    assert error < 1e-3
    assert error_of_unseen(parts[:1], measured[:1]) is None


def test_no_part_takes_less_than_no_time() -> None:
    parts = np.array([[1.0, 1.0], [1.0, 2.0], [1.0, 3.0]])
    constant, each = fitted(parts, np.array([3.0, 2.0, 1.0]))
    assert each == 0
    assert constant > 0


def test_networks_are_measured_once_and_all_that_follows_has_their_costs(tmp_path: Path) -> None:
    spec, told = front_spec(search=SEARCH), list[str]()
    study = in_database(tmp_path, spec)
    learn_latency(study, spec, CLASSES, PLACE, told.append)
    model = study.read(LatencyModel)
    assert model is not None
    assert model.networks == 3  # the space has three sizes of network
    assert min(model.milliseconds) >= 0
    assert told[0] == "Latency: measuring 3 networks of the space."
    assert f" ms an image on {model.place}, measured in " in told[1]

    optimize(stage(study, spec, Inline(1), Progress(), Interrupt()), CLASSES)
    assert study.optuna.metric_names == ["macro F1", "latency_ms"]
    costs_of = cost_function(study, spec, CLASSES)
    for trial in complete_trials(study):
        (milliseconds,) = costs_of_trial(study, trial.number)
        assert milliseconds > 0
        assert costs_of(TrialConfig.model_validate(spec.space.pinned | trial.params)) == (milliseconds,)

    learn_latency(study, spec, CLASSES, PLACE, told.append)
    assert len(told) == 2
    learn_latency(study, spec, CLASSES, replace(PLACE, threads=2), told.append)
    assert told[2:] == [f"Latency stays that of {model.place}, where the search began."]
    assert study.read(LatencyModel) == model


def test_a_run_that_measured_at_the_same_time_counts_by_the_model_that_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = front_spec(search=SEARCH)
    study, other = (
        in_database(tmp_path, spec),
        LatencyModel(milliseconds=(1,) * 5, error=0, networks=1, device="", threads=1),
    )

    def measure_while_another_run_ends(*arguments: Any, **options: Any) -> float:
        study.write(other)
        return latency_ms(*arguments, **options)

    monkeypatch.setattr("search.job.latency.latency_ms", measure_while_another_run_ends)
    learn_latency(study, spec, CLASSES, PLACE, print)
    assert study.read(LatencyModel) == other


def test_a_limit_of_latency_holds_for_what_is_proposed(tmp_path: Path) -> None:
    spec = front_spec(search=SEARCH, limits={"max_latency_ms": 1.0})
    study = in_database(tmp_path, spec)
    by_operations = (0.0, 0.0, 1e-5, 0.0, 0.0)
    study.write(LatencyModel(milliseconds=by_operations, error=0, networks=1, device="", threads=1))
    freezing = Freezing(study, spec, CLASSES, print)
    costs_of, slow = cost_function(study, spec, CLASSES), set[int]()
    for filters in (4, 8, 16):
        knobs = {"filters": filters, "learning_rate": 0.01}
        (latency,) = costs_of(TrialConfig.model_validate(spec.space.pinned | knobs))
        assert freezing._is_allowed(knobs) == (latency <= 1.0)
        slow |= {filters} if latency > 1.0 else set()
    assert 0 < len(slow) < 3


def test_a_search_against_latency_is_not_extended(tmp_path: Path) -> None:
    spec = front_spec(search=SEARCH)
    study = in_database(tmp_path, spec)
    wider = front_spec(search=SEARCH, knobs=spec.knobs | {"filters": [4, 8, 16, 32]})
    with pytest.raises(SearchError, match=r"against latency_ms cannot be extended.*Give --name"):
        require_extensible(study.spec, wider, made_by=VERSION, version=VERSION)


def test_another_cost_needs_no_measurement(tmp_path: Path) -> None:
    spec, told = front_spec(), list[str]()
    study = in_database(tmp_path, spec)
    learn_latency(study, spec, CLASSES, PLACE, told.append)
    assert study.read(LatencyModel) is None
    assert told == []


@pytest.mark.process
def test_the_command_searches_against_latency_and_best_takes_a_limit(
    tmp_path: Path, say: Say, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "fast.toml").write_text(TOML.replace('"parameters"', '"latency_ms", "size"'))
    done = run_command(tmp_path, "run", "fast.toml", "--data", "synthetic", "--workers", "1")
    assert done.returncode == 0, done.stderr
    told = " ".join(done.stdout.split())
    assert "Against ms an image and bytes: the best F1 at every cost" in told
    assert "Latency: measuring 3 networks of the space." in told
    assert " ms an image and " in told.partition("It is the best of a front of ")[2]

    folder = tmp_path / "studies" / "fast-synthetic"
    report = json.loads((folder / "report.json").read_text())
    assert report["latency"]["networks"] == 3
    latencies = [point["costs"]["latency_ms"] for point in report["front"]]
    assert all(latency > 0 for latency in latencies)
    text = (folder / "report.md").read_text()
    assert "| latency_ms |" in text
    assert "predicted from its layers by 3 measured networks; median error " in text
    assert "Macro F1 over ms an image: the front" in (folder / "report.html").read_text()

    monkeypatch.chdir(tmp_path)
    code, output, _ = say("best", "fast-synthetic", "--max-latency-ms", max(latencies))
    assert code == 0
    assert f"the best within max_latency_ms {max(latencies):,}" in " ".join(output.replace("#", " ").split())
    code, _, errors = say("best", "fast-synthetic", "--max-latency-ms", 0.001)
    assert code == 2
    assert "No complete trial of the study 'fast-synthetic' is within max_latency_ms 0.001; the nearest one" in errors


def test_without_such_a_search_a_limit_of_latency_is_refused(
    tmp_path: Path, say: Say, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    study = in_database(tmp_path, front_spec())
    code, _, errors = say("best", study.name, "--max-latency-ms", 1)
    assert code == 2
    assert f"The study {study.name!r} does not search against latency_ms" in errors
    assert "Give --max-flops instead" in errors
