"""A run whose storage is lost stops, and the next one resumes the study and keeps its exact budget."""

import math
import os
import sqlite3
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState

from search.errors import StorageLostError
from search.job.confirm import confirm
from search.job.interrupt import Interrupt
from search.job.progress.base import Progress
from search.job.search import optimize
from search.storage.opening import open_storage
from search.storage.own_trials import OwnTrials
from search.study.records import Confirmation
from search.study.spec import StudySpec
from search.study.study import Study, guarded, load_study
from tests.search.job.test_run import study_in
from tests.search.storage.faults import Faulty, faulty, start_impatient
from tests.search.tiny import CLASSES, RUN, TOML, Inline, in_database, run_command, stage, tiny_spec, wait_for_line


def backend_of(study: Study) -> Any:
    storage = study.optuna._storage
    assert isinstance(storage, OwnTrials)
    storage.patience.seconds = 0.0
    return storage._backend


def search_and_confirm(folder: Path, spec: StudySpec, faults: Faulty, places: int) -> None:
    study = in_database(folder, spec)
    with faulty(backend_of(study), faults), guarded(study, lambda _: None):
        executor, interrupt = Inline(places), Interrupt()
        optimize(stage(study, spec, executor, Progress(), interrupt), CLASSES)
        confirm(stage(study, spec, executor, Progress(), interrupt))


@pytest.mark.slow
@pytest.mark.parametrize(("places", "pruner"), [(1, "none"), (2, "hyperband")])
def test_lost_at_any_moment_the_study_ends_with_its_exact_budget(
    places: int, pruner: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for what_is_read_or_written_again in ("storage.own_trials.STALE_SECONDS", "study.timing.NOTE_SECONDS"):
        monkeypatch.setattr(f"search.{what_is_read_or_written_again}", math.inf)  # so each search makes the same calls
    spec, undisturbed = tiny_spec(trials=4, pruner=pruner, epochs=3), Faulty()
    search_and_confirm(tmp_path / "count", spec, undisturbed, places)
    for gone_from in range(2, undisturbed.calls, undisturbed.calls // 8):
        folder = tmp_path / str(gone_from)
        with pytest.raises(StorageLostError, match="was lost: disk I/O error"):
            search_and_confirm(folder, spec, Faulty(gone_from=gone_from), places)
        search_and_confirm(folder, spec, Faulty(), places)
        study = load_study(open_storage(f"sqlite:///{folder}/studies/fmnist.db", create=False), "tiny")
        trials = study.optuna.trials
        ends = {TrialState.COMPLETE} if pruner == "none" else {TrialState.COMPLETE, TrialState.PRUNED}
        assert [(trial.number, trial.state in ends) for trial in trials] == [(number, True) for number in range(4)]
        whole = [trial for trial in trials if trial.state == TrialState.COMPLETE]
        assert all(sorted(trial.intermediate_values) == [1, 2, 3] for trial in whole)
        confirmation = study.read(Confirmation)
        assert confirmation is not None
        assert confirmation.winner is not None


@pytest.mark.slow
def test_the_command_ends_with_1_and_given_again_goes_on(tmp_path: Path) -> None:
    (tmp_path / "tiny.toml").write_text(TOML)
    process = start_impatient(tmp_path, 15.0, *RUN)  # in which SQLite's own 10 fit
    try:
        wait_for_line(process, "epoch 1/2")
        with closing(sqlite3.connect(tmp_path / "studies" / "fmnist.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            output, errors = process.communicate()
            other.rollback()
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, 9)
    assert process.returncode == 1, output + errors
    assert "The storage does not answer: database is locked. Waiting up to 15 s; trainings continue." in output
    assert len(errors.splitlines()) == 1, errors
    line = errors.strip()
    assert line.startswith("Error: The storage was lost: database is locked.")
    assert line.endswith("When it is back, run the same command to resume.")

    done = run_command(tmp_path, *RUN)
    assert done.returncode == 0, done.stdout + done.stderr
    study = study_in(tmp_path)
    assert [(trial.number, trial.state) for trial in study.optuna.trials] == [
        (number, TrialState.COMPLETE) for number in range(3)
    ]
