"""Many times kill -9, at random moments of the whole job, against a study that nobody disturbed."""

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from optuna.trial import FrozenTrial, TrialState

from fmnist.config import TrialConfig
from fmnist.data.sources import Source, find_source
from fmnist.data.splits import SPLIT_SEED, search_splits
from fmnist.train import fit
from search.storage.opening import open_storage
from search.storage.trial_record import CONFIG, CURVE
from search.study.front import read_front
from search.study.paths import RUNNING
from search.study.records import Confirmation, Final, Opening, Timing
from search.study.study import Study, load_study
from tests.search.tiny import CPU, run_command, surroundings

KILLS = 20
BUDGET = 6
TOML = f"""\
[search]
trials = {BUDGET}
sampler = "random"
pruner = "none"

[knobs]
epochs = 6
depth = 1
filters = [4, 8]
pool = "before"
batch_norm = true
head = "max"
batch_size = 64
dropout = 0.2
augmentation = 0.3
ema = 0.98
schedule = "triangle"
learning_rate = {{ low = 0.003, high = 0.01, log = true }}

[confirm]
top = 2
seeds = 1

[final]
seeds = 2
"""
ARGUMENTS = ("run", "tiny.toml", "--data", "synthetic", "--workers", "2")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "tiny.toml").write_text(TOML)
    return tmp_path


@pytest.fixture
def scratch() -> Iterator[Path]:
    """For the sockets and folders that processes killed with -9 leave behind; its path is short enough for a
    socket's.
    """
    with tempfile.TemporaryDirectory(prefix="kill-", ignore_cleanup_errors=True) as made:
        yield Path(made)


def study_in(folder: Path, name: str) -> Study:
    return load_study(open_storage(f"sqlite:///{folder}/studies/fmnist.db", create=False), name)


def retrained(source: Source, trial: FrozenTrial) -> list[float | None]:
    """Each epoch's macro F1, of the trial's configuration and seed trained once more without a stop."""
    splits = search_splits(source, seed=SPLIT_SEED)
    config = TrialConfig.parse(trial.system_attrs[CONFIG], context="trial")
    return [
        epoch.macro_f1 for epoch in fit(config, splits.train, splits.valid, seed=trial.user_attrs["seed"], device=CPU)
    ]


def killed(folder: Path, scratch: Path, kills: int) -> list[str]:
    """The names of the studies that were killed so often, all together, and ended."""
    script = Path(__file__).with_name("killed_runs.py")
    root = str(Path(__file__).parents[3])
    command = [sys.executable, str(script), str(kills), "0", *ARGUMENTS, "--name", "killed-{}"]
    around = surroundings(PYTHONPATH=root, TMPDIR=str(scratch))
    ran = subprocess.run(command, cwd=folder, env=around, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    codes = ran.stdout.split()
    assert set(codes) == {"0"}, ran.stderr
    assert "Traceback" not in ran.stderr
    return [f"killed-{index}" for index in range(len(codes))]


@pytest.mark.slow
@pytest.mark.parametrize("against", ["", 'against = ["parameters"]'])
def test_kills_while_trials_pause_lose_no_epoch(folder: Path, scratch: Path, against: str) -> None:
    frozen = TOML.replace('"random"', '"gp"').replace('"none"', f'"freeze-thaw"\n{against}')
    (folder / "tiny.toml").write_text(frozen.replace("low = 0.003", "low = 0.0001"))
    source = find_source("synthetic", announce=lambda _: None)
    for name in killed(folder, scratch, 10):
        study = study_in(folder, name)
        trials = study.optuna.trials
        assert len(trials) <= BUDGET
        assert {trial.state for trial in trials} <= {TrialState.COMPLETE, TrialState.PRUNED}
        for trial in trials:
            values = list(trial.intermediate_values.values())
            assert values == retrained(source, trial)[: len(values)]
            if trial.state == TrialState.COMPLETE:
                assert len(values) == 6
            else:
                assert str(trial.user_attrs["reason"]).startswith("paused after epoch ")
        assert study.read(Final) is not None
        assert not list((folder / "studies" / name / RUNNING).glob("*"))
        assert [opening.by for opening in study.read_all(Opening)] == ["final"]
        assert bool(read_front(study)) == bool(against)
        for point in read_front(study):
            assert [run.seed for run in point.final.runs] == [2000, 2001]


@pytest.mark.slow
def test_twenty_kills_change_nothing_but_the_time(folder: Path, scratch: Path) -> None:
    names = killed(folder, scratch, KILLS)
    assert run_command(folder, *ARGUMENTS, "--name", "undisturbed").returncode == 0
    undisturbed, source = study_in(folder, "undisturbed"), find_source("synthetic", announce=lambda _: None)
    assert len(undisturbed.optuna.trials) == BUDGET
    for name in names:
        study = study_in(folder, name)
        assert [trial.state for trial in study.optuna.trials] == [TrialState.COMPLETE] * BUDGET
        assert [trial.number for trial in study.optuna.trials] == list(range(BUDGET))
        trained = [(str(trial.system_attrs[CONFIG]), trial.user_attrs["seed"]) for trial in study.optuna.trials]
        assert len(set(trained)) == BUDGET
        for trial in study.optuna.trials:
            values = [point["macro_f1"] for point in trial.system_attrs[CURVE]]
            assert list(trial.intermediate_values) == list(range(1, 7))
            assert values == list(trial.intermediate_values.values()) == retrained(source, trial)
        for record in (Final, Confirmation, Timing):
            assert (study.read(record) is None) == (undisturbed.read(record) is None)
        final = study.read(Final)
        assert final is not None
        assert len(final.runs) == 2
        confirmation = study.read(Confirmation)
        assert confirmation is not None
        assert final.temperature == confirmation.temperature is not None
        assert (folder / "studies" / name / "export" / "model.onnx").exists()
        assert not list((folder / "studies" / name / RUNNING).glob("*"))
    left = [
        process
        for process in psutil.process_iter(["environ"])
        if (process.info["environ"] or {}).get("TMPDIR") == str(scratch)
    ]
    assert not psutil.wait_procs(left, timeout=60)[1]
