"""Each benchmark runs as the command in its docstring, and its JSON has figures, machine and ratio."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.subset import write_for_torchvision
from fmnist.data import synthetic
from search.study.known import Known
from tests.search.tiny import NAME, RUN, TOML, run_command, surroundings

ROOT = Path(__file__).parents[1]
PINNED = """\
[search]
trials = 1
sampler = "random"
pruner = "none"

[knobs]
epochs = 2
depth = 1
filters = 4
"""
pytestmark = [pytest.mark.slow, pytest.mark.benchmark]


def measured(name: str, folder: Path, *options: str) -> tuple[dict[str, Any], str]:
    """Run the benchmark, and return its JSON and its output."""
    script = str(ROOT / "benchmarks" / f"{name}.py")
    command = [sys.executable, script, "--data", "synthetic", "--json", "out.json", *options]
    result = subprocess.run(
        command, cwd=folder, env=surroundings(), capture_output=True, text=True, timeout=240, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr
    figures: dict[str, Any] = json.loads((folder / "out.json").read_text())
    assert {"benchmark", "at", "commit", "machine", "versions", "settings", "rows", "ratio"} <= figures.keys()
    assert figures["benchmark"] == name
    assert figures["ratio"] > 0
    return figures, result.stdout


def test_throughput_compares_both_loops(tmp_path: Path) -> None:
    figures, table = measured(
        "throughput", tmp_path, "--images", "600", "--trials", "1", "--epochs", "1", "--workers", "1", "--loaders", "0"
    )
    assert figures["ratio_pool_before"] > 0
    assert len({run["parameters"] for row in figures["rows"] for run in row["runs"]}) == 1  # the same network
    assert "usual" in table
    assert "ours" in table


def test_profile_has_all_parts_of_an_epoch(tmp_path: Path) -> None:
    figures, table = measured("profile", tmp_path, "--images", "600", "--epochs", "1", "--trials", "2")
    assert {"other_share", "parts_add_up"} <= figures.keys()
    assert all(
        part in table
        for part in ("gathering the batch", "augmentation", "forward", "backward", "evaluation", "coordinator")
    )


def test_overhead_measures_a_trial_by_study_size(tmp_path: Path) -> None:
    figures, table = measured("overhead", tmp_path, "--trials", "5,20", "--study", "quick", "--measured", "3")
    assert [row["trials"] for row in figures["rows"]] == [5, 20]
    parts = ("ask", "notes", "report", "prune", "tell", "other", "hand-over")
    for row in figures["rows"]:
        assert all(row[part] >= 0 for part in parts)
        assert row["all"] > max(row[part] for part in parts)
        assert row["ask"] > 0
        assert row["report"] > 0
    assert all(part in table for part in parts)


def test_scale_keeps_simulated_workers_busy_on_one_coordinator(tmp_path: Path) -> None:
    options = ("--trials", "5,20", "--workers", "1,4", "--study", "quick", "--most", "6")
    figures, table = measured("scale", tmp_path, *options)
    assert [(row["trials"], row["workers"]) for row in figures["rows"]] == [(5, 1), (5, 4), (20, 1), (20, 4)]
    for row in figures["rows"]:
        assert row["trained"] == {1: 3, 4: 8}[row["workers"]]  # each worker at least two
        assert 0 < row["busy"] <= 1
        assert 0 < row["coordinator"] < 1
        assert 0 <= row["latency"] <= row["latency_95"] < 30
        assert row["asks"] >= row["capacity"] > 0
        assert row["bytes"] > 50_000
    assert figures["rows"][0]["busy"] > 0.95  # a single worker hardly waits
    assert "coordinator" in table
    url = f"sqlite:///{tmp_path}/study.db"
    figures, _ = measured(
        "scale", tmp_path, "--trials", "3", "--workers", "1", "--study", "quick", "--most", "3", "--storage", url
    )
    assert (tmp_path / "study.db").stat().st_size >= figures["rows"][0]["bytes"] > 0


def test_search_quality_shows_the_regret_of_each_search(tmp_path: Path) -> None:
    figures, table = measured(
        "search_quality", tmp_path, "--seeds", "3", "--budget", "90", "--only", "standard,random", "--figure", "out.png"
    )
    assert (tmp_path / "out.png").read_bytes().startswith(b"\x89PNG")
    assert [row["search"] for row in figures["rows"]] == ["standard", "random"]
    for row in figures["rows"]:
        assert len(row["regret"]) == 90
        assert len(row["final"]) == 3
        assert row["low"][-1] <= row["regret"][-1] <= row["high"][-1]
        assert -0.01 < row["regret"][-1] < row["regret"][9] <= 1  # a search may exceed the best scanned point slightly
    assert figures["rows"][1]["trials"] == 10  # random search prunes nothing
    assert "random" in table
    command = [sys.executable, str(ROOT / "benchmarks" / "search_quality.py"), "--only", "randm"]
    result = subprocess.run(
        command, cwd=tmp_path, env=surroundings(), capture_output=True, text=True, timeout=120, check=False
    )
    assert result.returncode == 2
    assert "got 'randm'. There are: standard, quick," in result.stderr


@pytest.mark.parametrize("more", [(), ("--workers", "3")])
def test_freeze_thaw_is_replayed_as_the_others_are(tmp_path: Path, more: tuple[str, ...]) -> None:
    options = ("--seeds", "3", "--budget", "45", "--only", "freeze-thaw,random", "--trials-figure", "trials.png", *more)
    figures, _ = measured("search_quality", tmp_path, *options)
    ours, randomly = figures["rows"]
    assert (tmp_path / "trials.png").read_bytes().startswith(b"\x89PNG")
    assert ours["used"] <= 45
    assert ours["trials"] > 45 / 9
    assert randomly["trials"] >= 45 / 9
    assert len(ours["seconds"]) == len(ours["regret by seconds"])
    assert min(ours["regret by seconds"]) == pytest.approx(ours["regret"][-1])


@pytest.mark.parametrize("more", [(), ("--workers", "3")])
def test_one_epoch_first_trains_three_to_the_end(tmp_path: Path, more: tuple[str, ...]) -> None:
    options = ("--seeds", "3", "--budget", "60", "--only", "one epoch first", *more)
    figures, _ = measured("search_quality", tmp_path, *options)
    (row,) = figures["rows"]
    assert row["used"] == 60
    assert row["trials"] == 60 - 3 * 8
    assert row["regret"][60 - 3 * 8 - 1] > 0.5  # nothing is complete before
    assert row["regret"][-1] < 0.05


def test_smac_is_replayed_as_the_others_are(tmp_path: Path) -> None:
    pytest.importorskip("smac", reason="needs the package smac")
    figures, _ = measured("search_quality", tmp_path, "--seeds", "3", "--budget", "60", "--only", "smac")
    assert figures["rows"][0]["used"] == 60
    assert figures["rows"][0]["regret"][-1] < 0.1


def test_searches_for_a_front_are_replayed(tmp_path: Path) -> None:
    here = ("--space", str(ROOT / "benchmarks" / "curves.toml"), "--curves", str(ROOT / "benchmarks" / "curves.csv"))
    options = ("--seeds", "1", "--budget", "45", "--only", "front,three limits,nsga2", *here)
    figures, table = measured("front_quality", tmp_path, *options)
    assert [row["search"] for row in figures["rows"]] == ["front", "three limits", "nsga2"]
    for row in figures["rows"]:
        assert row["gap"][-1] < row["gap"][0]
        assert row["low"][-1] <= row["gap"][-1] <= row["high"][-1]
    ours, _, plain = figures["rows"]
    assert plain["trials"] == 5  # nothing is pruned
    assert ours["trials"] > plain["trials"]
    assert "nsga2" in table


def test_a_table_of_another_space_is_refused(tmp_path: Path) -> None:
    script = ROOT / "benchmarks" / "search_quality.py"
    command = [sys.executable, str(script), "--space", str(ROOT / "benchmarks" / "wide.toml")]
    result = subprocess.run(
        command, cwd=tmp_path, env=surroundings(), capture_output=True, text=True, timeout=120, check=False
    )
    assert result.returncode == 2
    assert "Give --space and --curves that belong together." in result.stderr


def test_curve_models_compares_predictions_of_the_last_epoch(tmp_path: Path) -> None:
    figures, table = measured("curve_models", tmp_path, "--trainings", "24", "--repeats", "2")
    means = figures["means"]
    assert {"process", "last values", "warped"} <= means.keys()
    assert all(row["unseen"] > 0 and -1 <= row["rank"] <= 1 for row in means.values())
    assert means["process"]["stopped"] < means["last values"]["stopped"]
    assert "halved after epochs 1, 2 and 4" in table


def test_known_writes_what_searches_found(tmp_path: Path) -> None:
    curves = ROOT / "benchmarks" / "curves.csv"
    command = [sys.executable, str(ROOT / "benchmarks" / "known.py"), "--curves", str(curves), "--most", "5"]
    result = subprocess.run(
        [*command, "--out", "known.json"], cwd=tmp_path, env=surroundings(), capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    (search,) = Known.model_validate_json((tmp_path / "known.json").read_text(), strict=False).searches
    assert (search.name, search.epochs, len(search.trainings)) == ("curves", 9, 5)


def test_judgement_measures_pruning_and_confirming(tmp_path: Path) -> None:
    figures, table = measured("judgement", tmp_path, "--seeds", "3", "--budget", "180")
    for row in figures["rows"]:
        assert 0 < row["epochs"] <= 1
        assert 0 <= row["killed"] <= 1
        assert sum(row["at"]) == pytest.approx(row["killed"])
    assert [rung["epoch"] for rung in figures["rungs"]] == list(range(1, 9))
    assert figures["rungs"][-1]["all"] > 0.9
    unconfirmed, *stages = figures["confirm"]
    assert (unconfirmed["top"], unconfirmed["seeds"], unconfirmed["cost"]) == (1, 0, 0)
    assert all(stage["cost"] == pytest.approx(stage["top"] * stage["seeds"] * 9 / 180) for stage in stages)
    assert all(title in table for title in ("What pruning kills", "What an epoch predicts", "What confirming is worth"))


def test_doubtful_shows_the_common_mistakes_of_a_study(tmp_path: Path) -> None:
    (tmp_path / "tiny.toml").write_text(TOML.replace("[final]\nseeds = 1", "[final]\nseeds = 2"))
    result = run_command(tmp_path, *RUN, "--trials", "1", "--set", "filters=4")
    assert result.returncode == 0, result.stderr
    figures, table = measured("doubtful", tmp_path, NAME, "--sheet", "sheet.png")
    settings = figures["settings"]
    assert settings["networks"] == 2
    assert 0 < settings["agreed"] < settings["wrong"] < 1
    assert sum(row["agreed"] for row in figures["rows"]) == round(settings["agreed"] * 1000)
    assert [pair["mistakes"] for pair in figures["pairs"]] == sorted(
        (pair["mistakes"] for pair in figures["pairs"]), reverse=True
    )
    assert all(0 < row["each"] <= 1 for row in figures["rows"])
    assert (tmp_path / "sheet.png").read_bytes().startswith(b"\x89PNG")
    assert "2 networks of tiny-synthetic together misclassify" in " ".join(table.split())


def test_speedrun_trains_a_pinned_study_and_refuses_a_search(tmp_path: Path) -> None:
    (tmp_path / "pinned.toml").write_text(PINNED)
    figures, _ = measured("speedrun", tmp_path, "--study", "pinned.toml", "--seeds", "2")
    assert len(figures["rows"]) == 2
    assert 0 < figures["mean_macro_f1"] < 1
    assert not figures["is_reached"]
    command = [sys.executable, str(ROOT / "benchmarks" / "speedrun.py"), "--study", "quick", "--data", "synthetic"]
    result = subprocess.run(
        command, cwd=tmp_path, env=surroundings(), capture_output=True, text=True, timeout=120, check=False
    )
    assert result.returncode == 2
    assert "Pin them" in result.stderr


def test_minutes_compares_whole_jobs_of_one_length(tmp_path: Path) -> None:
    (tmp_path / "tiny.toml").write_text(TOML.replace("[final]\nseeds = 1", "[final]\nseeds = 3"))
    figures, table = measured("minutes", tmp_path, "--minutes", "0.6", "--only", "tiny.toml", "--workers", "1")
    (row,) = figures["rows"]
    assert len(row["macro_f1"]) == 3
    assert any("final seeds" in decision for decision in row["decisions"])
    assert "0.6" in table


def test_the_usual_job_ends_by_the_clock(tmp_path: Path) -> None:
    write_for_torchvision([synthetic.draw(240, seed=0)], tmp_path)
    work = {"root": str(tmp_path), "seconds": 4.0, "seeds": 3, "loaders": 0, "images": 240}
    command = [sys.executable, "-m", "benchmarks.usual_job", json.dumps(work | {"result": str(tmp_path / "out.json")})]
    subprocess.run(command, cwd=ROOT, env=surroundings(), timeout=240, check=True)
    found = json.loads((tmp_path / "out.json").read_text())
    assert len(found["macro_f1"]) == 3
    assert found["trials"] >= 1
    assert found["epochs"] >= 1
