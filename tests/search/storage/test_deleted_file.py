"""The SQLite file is deleted, or another takes its place, while a run has it open."""

import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from search.errors import StorageLostError
from search.job.interrupt import Interrupt
from search.job.progress.base import Progress
from search.job.search import optimize
from search.storage.rescue import HeldFile
from search.study.records import Opening
from search.study.study import guarded
from tests.search.job.test_run import study_in
from tests.search.tiny import (
    CLASSES,
    DEADLINE,
    RUN,
    TOML,
    Inline,
    in_database,
    stage,
    start_command,
    tiny_spec,
    wait_for_line,
)

FILE = Path("studies/fmnist.db")


def delete_all() -> None:
    for path in FILE.parent.glob("fmnist.db*"):
        path.unlink()


def delete_the_file_alone() -> None:
    FILE.unlink()


def delete_the_folder() -> None:
    shutil.rmtree(FILE.parent)


def leave_an_empty_file() -> None:
    delete_all()
    FILE.touch()


def replace() -> None:
    delete_all()
    optuna.create_study(study_name="other", storage=f"sqlite:///{FILE}")


class Interferes(Progress):
    """Does it once, when that many epochs were shown; remembers what a person was told."""

    def __init__(self, interfere: Callable[[], None], after: int) -> None:
        self.interfere, self.left = interfere, after
        self.texts: list[str] = []

    def epoch(self, label: str, number: int, macro_f1: float | None, images_per_second: float) -> None:  # noqa: ARG002
        self.left -= 1
        if self.left == 0:
            self.interfere()

    def message(self, text: str, *, is_alarm: bool = False) -> None:  # noqa: ARG002
        self.texts.append(text)


@pytest.mark.slow
@pytest.mark.parametrize("after", [1, 4])
@pytest.mark.parametrize("interfere", [delete_all, delete_the_file_alone, delete_the_folder, leave_an_empty_file])
def test_a_file_that_is_deleted_is_written_anew(
    interfere: Callable[[], None], after: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    spec, progress = tiny_spec(trials=3), Interferes(interfere, after)
    study = in_database(tmp_path, spec)
    with guarded(study, progress.message):
        optimize(stage(study, spec, Inline(), progress, Interrupt()), CLASSES)
    (told,) = progress.texts
    assert "fmnist.db was deleted while it was in use. It has been restored; nothing is lost." in told
    kept = in_database(tmp_path, spec)
    assert [trial.state for trial in kept.optuna.trials] == [TrialState.COMPLETE] * 3
    assert [sorted(trial.intermediate_values) for trial in kept.optuna.trials] == [[1, 2]] * 3
    assert not [path.name for path in FILE.parent.iterdir() if path.name.startswith(".")]


def test_a_file_that_is_deleted_after_the_last_write_is_written_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    study = in_database(tmp_path, tiny_spec())
    with guarded(study, lambda _: None):
        study.append(Opening(at="2025-01-01", by="final", trial=0))
        FILE.chmod(0o600)
    with guarded(study, lambda _: None):
        delete_all()
    assert len(in_database(tmp_path, tiny_spec()).optuna.user_attrs["openings"]) == 1
    assert FILE.stat().st_mode & 0o777 == 0o600


def test_a_file_that_another_took_the_place_of_is_lost_and_left_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    spec, progress = tiny_spec(trials=3), Interferes(replace, 2)
    study = in_database(tmp_path, spec)
    with pytest.raises(StorageLostError, match=r".*fmnist\.db was replaced by another file while it was in use"):  # noqa: SIM117
        with guarded(study, progress.message):
            optimize(stage(study, spec, Inline(), progress, Interrupt()), CLASSES)
    assert optuna.get_all_study_names(f"sqlite:///{FILE}") == ["other"]
    (saved,) = Path(FILE).parent.glob("fmnist.db.*.saved")
    assert "tiny" in optuna.get_all_study_names(f"sqlite:///{saved}")


def test_a_file_that_cannot_be_held_open_is_told_and_the_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    spec, progress = tiny_spec(trials=1), Interferes(delete_all, -1)
    study = in_database(tmp_path, spec)

    def refuse(_: Path) -> HeldFile:
        raise sqlite3.OperationalError("database is locked")

    monkeypatch.setattr("search.storage.patient.HeldFile", refuse)
    with guarded(study, progress.message):
        optimize(stage(study, spec, Inline(), progress, Interrupt()), CLASSES)
    assert [text for text in progress.texts if "cannot be held open (database is locked)" in text]
    assert [trial.state for trial in study.optuna.trials] == [TrialState.COMPLETE]


@pytest.mark.slow
def test_the_command_whose_database_is_deleted_ends_with_its_whole_study(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("tiny.toml").write_text(TOML)
    process = start_command(tmp_path, *RUN)
    try:
        wait_for_line(process, "trial 0, epoch 1")
        delete_all()
        output, errors = process.communicate(timeout=DEADLINE)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, 9)
    assert process.returncode == 0, output + errors
    assert "It has been restored; nothing is lost." in output
    study = study_in(tmp_path)
    assert [trial.state for trial in study.optuna.trials] == [TrialState.COMPLETE] * 3
    assert "final" in study.optuna.user_attrs
