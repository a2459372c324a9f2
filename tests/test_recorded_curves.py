"""The table of recorded learning curves is what it says, and what the benchmarks replay is near to it."""

import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.curves import CURVES, WIDE, Curve, Points, append_curve, read_curves, read_space
from benchmarks.replay import Replay
from fmnist.config import TrialConfig
from fmnist.errors import FmnistError
from fmnist.network import describe
from search.study.space import read_space as space_of
from tests.search.tiny import CLASSES, surroundings

LARGEST = 5_000_000  # bytes that the tables may have that ship with the benchmarks


@pytest.fixture(scope="module")
def curves() -> list[Curve]:
    return read_curves(CURVES)


@pytest.fixture(scope="module")
def replay() -> Replay:
    return Replay()


@pytest.mark.parametrize(("table", "least"), [(CURVES, 500), (WIDE, 256)])
def test_each_curve_is_of_the_point_that_it_names_and_of_all_its_epochs(table: Path, least: int) -> None:
    curves = read_curves(table)
    assert CURVES.stat().st_size + WIDE.stat().st_size < LARGEST
    assert len({(curve.point, curve.seed) for curve in curves}) == len(curves) > least
    spec = read_space(table.with_suffix(".toml"))
    points = Points(spec.space)
    for curve in curves[:: len(curves) // 40]:
        knobs = points[curve.point]
        assert curve.knobs == {name: pytest.approx(value, abs=1e-5) for name, value in knobs.items()}
        assert np.allclose(points.unit(knobs), points.unit(points.knobs(points.unit(knobs))))
        assert (
            curve.parameters
            == describe(TrialConfig.model_validate(spec.space.pinned | curve.knobs), CLASSES).parameters
        )
    assert {len(curve.curve) for curve in curves} == {spec.epochs}
    assert all(0 < value < 1 for curve in curves for value in (*curve.curve, curve.held_out))


def test_the_points_of_a_space_with_choices_are_of_that_space_and_try_every_option() -> None:
    options: dict[str, list[Any]] = {
        "pool": ["before", "after"],
        "batch_norm": [True, False],
        "batch_size": [64, 128, 256],
    }
    space = space_of({**options, "dropout": {"low": 0.0, "high": 0.5}}, search_unlisted=False, context="choices")
    points = Points(space)
    found = [points[index] for index in range(64)]
    for knobs in found:
        TrialConfig.model_validate(space.pinned | knobs)
        again = points.knobs(points.unit(knobs))
        assert again == knobs | {"dropout": pytest.approx(knobs["dropout"])}
    for name, values in options.items():
        counts = Counter(knobs[name] for knobs in found)
        assert set(counts) == set(values)
        assert min(counts.values()) > len(found) / len(values) / 2
    assert len({knobs["dropout"] for knobs in found}) == len(found)


@pytest.mark.slow
@pytest.mark.benchmark
def test_a_replayed_training_is_near_the_recorded_one(curves: list[Curve], replay: Replay) -> None:
    off = [replay.truth(curve.knobs)[-1] - curve.curve[-1] for curve in curves[::10]]
    assert np.median(np.abs(off)) < 0.01
    rng = np.random.default_rng(0)
    trainings = np.array([replay.training(curves[0].knobs, rng) for _ in range(200)])
    assert np.allclose(trainings.mean(axis=0), replay.truth(curves[0].knobs), atol=0.008)
    assert 0.001 < trainings[:, -1].std() < 0.01


@pytest.mark.slow
@pytest.mark.benchmark
def test_what_the_replay_foretells_it_did_not_see(replay: Replay) -> None:
    fit = replay.fit()
    assert fit.rank_correlation > 0.9
    assert fit.seed_deviation < fit.error < 0.01
    assert 0.9 < replay.best() < 0.93


@pytest.mark.slow
@pytest.mark.benchmark
def test_the_nearest_recorded_curve_is_replayed_as_it_was(curves: list[Curve]) -> None:
    replay = Replay(nearest=True)
    once = next(curve for curve in curves if sum(other.point == curve.point for other in curves) == 1)
    assert replay.truth(once.knobs) == pytest.approx(once.curve)
    again = [curve for curve in curves if curve.point == max(curves, key=lambda curve: curve.seed).point]
    assert len(again) > 1
    assert replay.truth(again[0].knobs) == pytest.approx(np.mean([curve.curve for curve in again], axis=0))
    assert replay.best() == pytest.approx(
        max(np.mean([c.curve[-1] for c in curves if c.point == point]) for point in {c.point for c in curves})
    )
    assert replay.fit().error > Replay().fit().error


def test_a_curve_is_read_as_it_was_written(tmp_path: Path) -> None:
    curve = Curve(3, 1, {"depth": 2, "dropout": 0.25, "pool": "before"}, 1234, 5.5, float("nan"), (0.5, 0.75))
    for _ in range(2):
        append_curve(tmp_path / "curves.csv", curve)
    assert str(read_curves(tmp_path / "curves.csv")) == str([curve, curve])


@pytest.mark.parametrize(
    "text", ["", "a,b\n1,2\n", "point,seed,knobs,parameters,seconds,held_out,curve\nx,0,{},1,1,1,0.5\n"]
)
def test_another_table_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text(text)
    with pytest.raises(FmnistError, match=r"must be a table of recorded curves"):
        read_curves(tmp_path / "table.csv")


@pytest.mark.slow
@pytest.mark.benchmark
def test_curves_are_recorded_and_what_is_there_is_not_trained_again(tmp_path: Path) -> None:
    script = Path(__file__).parents[1] / "benchmarks" / "record_curves.py"
    options = (
        "--count",
        "2",
        "--again",
        "1",
        "--seeds",
        "1",
        "--workers",
        "1",
        "--data",
        "synthetic",
        "--images",
        "500",
        "--curves",
        "own.csv",
    )
    said = []
    for _ in range(2):
        command = [sys.executable, str(script), *options]
        done = subprocess.run(
            command, cwd=tmp_path, env=surroundings(), capture_output=True, text=True, timeout=300, check=False
        )
        assert done.returncode == 0, done.stderr
        said.append(done.stderr)
    found = read_curves(tmp_path / "own.csv")
    assert [(curve.point, curve.seed) for curve in found[:2]] == [(0, 0), (1, 0)]
    assert found[2].seed == 1
    assert len(found) == 3
    assert "2 of 2: point 1, seed 0, F1 0." in said[0]
    assert "point" not in said[1]
