"""benchmarks/gpu.py --tiny on the CPU: each step is a process whose result is recorded when it ends."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.search.tiny import made_once, surroundings

ROOT = Path(__file__).parents[1]
STEPS = ("tests", "epoch", "throughput", "workers", "speedrun", "standard", "resume")
POSITIVE = [  # step, figure
    ("tests", "skipped"),
    ("epoch", "seconds"),
    ("epoch", "eager_seconds"),
    ("epoch", "kernels"),
    ("epoch", "scoring_seconds"),
    ("epoch", "dash_seconds"),
    ("throughput", "ratio"),
    ("throughput", "ratio_pool_before"),
    ("workers", "small_threads_2"),
    ("workers", "standard_processes_2"),
    ("speedrun", "0.95_seconds"),
    ("speedrun", "0.95_f1"),
    ("speedrun", "wall_seconds"),
    ("standard", "job_seconds"),
    ("standard", "search_seconds"),
    ("standard", "confirm_seconds"),
    ("standard", "final_seconds"),
    ("standard", "trials_done"),
    ("standard", "complete"),
    ("standard", "search_best"),
    ("standard", "final_mean"),
    ("standard", "final_low"),
    ("standard", "final_high"),
    ("standard", "parameters"),
    ("standard", "workers"),
    ("resume", "killed_after_seconds"),
    ("resume", "resumed"),
    ("resume", "trials"),
    ("resume", "seconds"),
]
pytestmark = [pytest.mark.slow, pytest.mark.benchmark]


def run_gpu(folder: Path, *options: str, data: str = "synthetic") -> subprocess.CompletedProcess[str]:
    script = str(ROOT / "benchmarks" / "gpu.py")
    command = [sys.executable, script, "--tiny", "--device", "cpu", "--json", "out.json", "--data", data, *options]
    environment = surroundings(GPU_TEST=str(folder))
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=540, check=False
    )


def rows_of(folder: Path) -> dict[str, dict[str, Any]]:
    return {row["step"]: row for row in json.loads((folder / "out.json").read_text())["rows"]}


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """The results of all steps, shared by all test processes."""
    return made_once(tmp_path_factory, worker_id, "gpu", _run_all)


def _run_all(folder: Path) -> None:
    result = run_gpu(folder)
    (folder / "output.txt").write_text(result.stdout + result.stderr)


@pytest.mark.parametrize("step", STEPS)
def test_each_step_passes_with_figures_and_a_log(folder: Path, step: str) -> None:
    row = rows_of(folder)[step]
    assert row["status"] == "passed", (folder / "output.txt").read_text() + "\n".join(row["last_lines"])
    assert 0 < row["seconds"] < row["box_seconds"]
    assert row["figures"]
    assert row["proves"].endswith(".")
    assert row["last_lines"] == []
    assert (folder / f"out.{step}.log").exists()
    assert f"{step}: passed in" in (folder / "output.txt").read_text()


@pytest.mark.parametrize(("step", "figure"), POSITIVE)
def test_a_step_has_the_figure(folder: Path, step: str, figure: str) -> None:
    assert rows_of(folder)[step]["figures"][figure] > 0


def test_the_results_match_an_undisturbed_job(folder: Path) -> None:
    rows = rows_of(folder)
    assert rows["resume"]["figures"]["exit_codes"] == [-9, 0]
    assert rows["resume"]["figures"]["states"] == {"complete": 4}
    assert rows["resume"]["figures"]["openings"] == 1
    standard = rows["standard"]["figures"]
    assert (standard["complete"], standard["pruned"], standard["failed"]) == (2, 0, 0)
    assert len(standard["final_by_seed"]) == 2
    assert standard["final_sd"] >= 0
    assert standard["winner"]["depth"] == 1
    assert list(rows["throughput"]["figures"]["macro_f1"]) == [
        "usual, 0 loaders",
        "ours, 1 worker",
        "ours, pool before",
    ]
    assert all(rate > 0 for rate in rows["throughput"]["figures"]["images_per_second"].values())
    assert rows["throughput"]["figures"]["settings"]["is_warm"]


def test_the_json_has_the_keys_of_all_benchmarks(folder: Path) -> None:
    figures = json.loads((folder / "out.json").read_text())
    assert {"benchmark", "at", "commit", "machine", "versions", "settings", "rows", "ratio"} <= figures.keys()
    assert figures["ratio"] == 1
    assert figures["settings"]["steps"] == list(STEPS)


def test_a_failed_step_is_recorded_and_the_next_one_runs(tmp_path: Path) -> None:
    result = run_gpu(tmp_path, "--steps", "standard,tests", data="nowhere")
    assert result.returncode == 1
    rows = rows_of(tmp_path)
    assert list(rows) == ["standard", "tests"]
    assert rows["standard"]["status"] == "failed"
    assert 0 < len(rows["standard"]["last_lines"]) <= 20
    assert "--data nowhere" in " ".join(rows["standard"]["last_lines"])
    assert "AssertionError" in rows["standard"]["last_lines"][-1]
    assert rows["tests"]["status"] == "passed"
    assert "1 of 2 steps passed" in result.stdout


def test_a_step_over_its_limit_is_killed_and_one_without_time_is_not_begun(tmp_path: Path) -> None:
    result = run_gpu(tmp_path, "--steps", "standard,tests", "--minutes", "0.2")
    assert result.returncode == 1
    rows = rows_of(tmp_path)
    assert rows["standard"]["status"] == "over time"
    assert 10 < rows["standard"]["box_seconds"] <= 12
    assert rows["standard"]["seconds"] < 20
    assert rows["tests"]["status"] == "not begun"
    environments = [process.info["environ"] or {} for process in psutil.process_iter(["environ"])]
    assert not [environment for environment in environments if environment.get("GPU_TEST") == str(tmp_path)]


def test_an_unknown_step_is_refused_with_the_nearest_name(tmp_path: Path) -> None:
    result = run_gpu(tmp_path, "--steps", "tests,trhoughput")
    assert result.returncode == 2
    assert "got 'trhoughput'. Did you mean 'throughput'?" in result.stderr
    assert not (tmp_path / "out.json").exists()


def test_an_absent_device_is_refused(tmp_path: Path) -> None:
    result = run_gpu(tmp_path, "--device", "cuda:99")
    assert result.returncode == 2
    assert "The device 'cuda:99' is not present here." in result.stderr
