"""A study is deleted whole: what goes is told first, and a deletion that was interrupted is finished."""

import errno
import os
import pty
import shutil
from pathlib import Path
from subprocess import PIPE
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState, create_trial

from search.storage.opening import open_storage
from search.study.holder import this_process
from search.study.ownership import claim_folder
from search.study.study import Study, create_study, storage_names
from tests.search.forked import Forked
from tests.search.sample import final, trial
from tests.search.study.test_lock import holder
from tests.search.tiny import DATA, DEADLINE, Say, in_database, surroundings, tiny_spec

URL = "sqlite:///studies/fmnist.db"


def kept(folder: Path, name: str = "mine") -> Study:
    """A study of three trials, one of which waits, with a folder of three files besides those of its owner and lock."""
    study = in_database(folder, tiny_spec().overridden(name=name))
    study.optuna.add_trials([trial(0.8), trial(0.9), create_trial(state=TrialState.WAITING)])
    claim_folder(Study(study.optuna, folder / "studies"))
    (folder / "studies" / name / "run.lock").touch()
    for path in ("final/seed-2000/model.safetensors", "export/model.onnx", "report.md"):
        file = folder / "studies" / name / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(bytes(400_000))
    return study


def names(url: str = URL) -> list[str]:
    return storage_names(open_storage(url, create=False))


def files(folder: Path) -> list[str]:
    """All but the database's own."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if not path.name.startswith("fmnist.db"))


def test_what_goes_is_told_and_without_a_terminal_nothing_goes_unless_yes_is_given(say: Say, tmp_path: Path) -> None:
    kept(tmp_path)
    in_database(tmp_path, tiny_spec().overridden(name="another"))
    before = files(tmp_path / "studies")
    code, output, errors = say("delete", "mine")
    assert (code, names(), files(tmp_path / "studies")) == (2, ["mine", "another"], before)
    assert output.splitlines() == [
        f"Study 'mine' in {URL}: not finished; 3 trials, 2 of them finished.",
        "Folder studies/mine: 3 files, 1.2 MB.",
    ]
    assert errors.strip().endswith("there is no terminal on which to ask. Give --yes.")

    code, output, errors = say("delete", "mine", "--yes")
    assert (code, errors, output.splitlines()[-1]) == (0, "", "Deleted.")
    assert names() == ["another"]
    assert [path.name for path in (tmp_path / "studies").iterdir() if not path.name.startswith("fmnist.db")] == []
    assert [path.name for path in (tmp_path / "studies").glob("*mine*")] == []
    code, _, errors = say("delete", "mine", "--yes")
    assert (code, "no study named 'mine'" in errors) == (2, True)


@pytest.mark.process
def test_a_person_at_a_terminal_is_asked(tmp_path: Path) -> None:
    kept(tmp_path)
    for answer, says in ((b"n\n", "Nothing was deleted."), (b"y\n", "Deleted.")):
        ours, theirs = pty.openpty()
        os.write(ours, answer)
        more: dict[str, Any] = {"stdin": theirs, "stdout": PIPE, "stderr": PIPE}
        with Forked(["delete", "mine"], cwd=tmp_path, env=surroundings(), **more) as process:
            output, errors = process.communicate(timeout=DEADLINE)
        for end in (ours, theirs):
            os.close(end)
        assert (process.returncode, says in output) == (0, True), output + errors
        assert (names(f"sqlite:///{tmp_path}/studies/fmnist.db") == []) == (answer == b"y\n")


def test_the_result_of_a_finished_study_and_what_begins_with_it_are_told(say: Say, tmp_path: Path) -> None:
    kept(tmp_path).write(final(0.9))
    later = tiny_spec(sampler="gp", pruner="freeze-thaw").overridden(name="later", prior=("mine",))
    in_database(tmp_path, later)
    _, output, _ = say("delete", "mine")
    assert "finished, its test split was opened; 3 trials" in output
    assert "The study 'later' begins with its trials, and cannot be continued without them." in output


@pytest.mark.process
def test_a_study_at_which_a_run_is_at_work_stays(say: Say, tmp_path: Path) -> None:
    kept(tmp_path)
    before = files(tmp_path / "studies" / "mine")
    with holder(tmp_path / "studies" / "mine", f"sqlite:///{tmp_path}/studies/fmnist.db") as run:
        code, output, errors = say("delete", "mine", "--yes")
        assert (code, output) == (2, "")
        assert f"Another run is at work on the study 'mine': process {run.pid}" in errors
        run.kill()
    assert names() == ["mine"]
    assert set(before) <= set(files(tmp_path / "studies" / "mine"))


def test_a_study_at_which_a_run_on_another_machine_is_at_work_stays(say: Say, tmp_path: Path) -> None:
    study = kept(tmp_path)
    elsewhere = this_process().model_copy(update={"host": "elsewhere", "token": "another", "pid_space": "another"})
    for key in ("holder", "coordinator:ab"):
        study.write(elsewhere, key=key)
        code, output, errors = say("delete", "mine", "--yes")
        assert (code, output, "at work on the study 'mine'" in errors, "on elsewhere" in errors) == (2, "", True, True)
        study.write(elsewhere.model_copy(update={"is_over": True}), key=key)
    assert names() == ["mine"]


def test_a_folder_of_another_databases_study_stays_with_the_study_of_its_name(say: Say, tmp_path: Path) -> None:
    kept(tmp_path)
    create_study(open_storage("sqlite:///b.db", create=True), tiny_spec().overridden(name="mine"), DATA)
    before = files(tmp_path / "studies")
    code, output, errors = say("delete", "mine", "--yes", "--storage", "sqlite:///b.db")
    assert (code, output, "belongs to the study 'mine' in" in errors) == (2, "", True)
    assert (names("sqlite:///b.db"), files(tmp_path / "studies")) == (["mine"], before)


@pytest.mark.parametrize("name", ["mine", "../outside"])
def test_another_programs_study_goes_and_no_folder_of_its_name(name: str, say: Say, tmp_path: Path) -> None:
    storage = open_storage(URL, create=True)
    optuna.create_study(study_name=name, storage=storage, directions=["minimize", "maximize"])
    (tmp_path / "studies" / name).mkdir()
    code, output, _ = say("delete", name, "--yes")
    assert (code, "made by another program: 0 trials" in output, names()) == (0, True, [])
    assert "It has no folder." in output
    assert (tmp_path / "studies" / name).exists()


def test_a_copied_study_whose_name_leads_out_of_the_studies_takes_no_folder_with_it(say: Say, tmp_path: Path) -> None:
    kept(tmp_path)
    optuna.copy_study(from_study_name="mine", from_storage=URL, to_storage=URL, to_study_name="../outside")
    (tmp_path / "outside").mkdir()
    assert say("delete", "../outside", "--yes")[0] == 0
    assert (names(), (tmp_path / "outside").exists()) == (["mine"], True)


@pytest.mark.parametrize("calls", range(7))
def test_a_deletion_that_was_interrupted_is_finished_by_the_same_command(
    calls: int, say: Say, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After so many of its deletions of folders and files, the disk fails."""
    kept(tmp_path)
    (tmp_path / "studies" / "mine" / "study.json").unlink()  # as in version 0.1
    left, rmtree, unlink = calls, shutil.rmtree, Path.unlink

    def spend(path: Path) -> None:
        nonlocal left
        left -= "mine" in path.parts
        if left < 0:
            raise OSError(errno.EIO, "Input/output error", str(path))

    def failing_rmtree(path: Path, *arguments: Any, **options: Any) -> None:
        spend(path)
        rmtree(path, *arguments, **options)

    def failing_unlink(path: Path, *, missing_ok: bool = False) -> None:
        spend(path)
        unlink(path, missing_ok=missing_ok)

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", failing_rmtree)
        patch.setattr(Path, "unlink", failing_unlink)
        code, _, errors = say("delete", "mine", "--yes")
    folder = tmp_path / "studies" / "mine"
    if code == 0:
        assert not folder.exists()
        return
    assert (code, folder.exists()) == (2, True), errors
    if calls:
        assert "run the same command again" in errors
        code, output, errors = say("delete", "mine")
        assert (code, "The study 'mine' is no longer in the storage." in output) == (2, True), errors
    else:  # the folder could not be told to be the study's
        assert ("study.json must be writable" in errors, names()) == (True, ["mine"])
    assert say("delete", "mine", "--yes")[0] == 0
    assert not folder.exists()


def test_a_folder_that_is_a_link_goes_with_what_it_points_at(say: Say, tmp_path: Path) -> None:
    kept(tmp_path)
    folder, disk = tmp_path / "studies" / "mine", tmp_path / "disk"
    folder.rename(disk)
    folder.symlink_to(disk)
    assert say("delete", "mine", "--yes")[0] == 0
    assert (folder.is_symlink(), disk.exists()) == (False, False)
