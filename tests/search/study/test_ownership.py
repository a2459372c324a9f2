"""A study's folder belongs to one study of one database, and what a score stands on is what the study wrote."""

import json
import shutil
import socket
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
import torch

from fmnist.checkpoint import load_checkpoint, save_checkpoint
from fmnist.network import build
from search.errors import SearchError
from search.storage.opening import open_storage
from search.study.ownership import OWNER, TOKEN, claim_folder, identity_of, require_own_folder
from search.study.paths import HOME
from search.study.predictions import predictions_path
from search.study.study import Study, create_study, load_study
from tests.search.storage.faults import contents
from tests.search.tiny import DATA, NAME, RUN, Say, tiny_spec

A, B = "sqlite:///a.db", "sqlite:///b.db"


def study_at(url: str) -> Study:
    return create_study(open_storage(url, create=True), tiny_spec(), DATA)


def claimed_at(url: str) -> Study:
    study = study_at(url)
    claim_folder(study)
    return study


def place(name: str) -> str:
    """As the folder's owner is told: wherever a command is given, it is the same file."""
    return f"sqlite:///{Path(name).resolve()}"


@pytest.mark.parametrize("more", [(), ("--dry-run",)])
def test_a_run_whose_folder_is_another_databases_is_refused_before_anything_is_written(
    more: tuple[str, ...], say: Say, tmp_path: Path
) -> None:
    claimed_at(A)
    before = contents(tmp_path)
    code, _, errors = say("run", "tiny.toml", "--data", "synthetic", "--name", "tiny", "--storage", B, *more)
    assert code == 2
    for part in (
        f"The folder studies/tiny belongs to the study 'tiny' in {place('a.db')}",
        f"not to that in {place('b.db')}",
        "another folder",
    ):
        assert part in errors
    assert {name: content for name, content in contents(tmp_path).items() if not name.startswith("a.db")} == {
        name: content for name, content in before.items() if not name.startswith("a.db")
    }


def test_report_and_export_of_a_study_whose_folder_is_anothers_are_refused(say: Say, tmp_path: Path) -> None:
    claimed_at(A)
    study = study_at(B)
    for command in (("report", "tiny"), ("report", "tiny", "--json")):
        code, output, errors = say(*command, "--storage", B)
        assert (code, output) == (2, "")
        assert f"in {place('a.db')}, not to that in {place('b.db')}" in errors
    assert [path.name for path in (tmp_path / "studies" / "tiny").iterdir()] == [OWNER]
    with pytest.raises(SearchError, match="belongs to the study 'tiny'"):
        require_own_folder(study)
    assert say("report", "tiny", "--storage", A)[0] == 0


def test_a_study_that_was_deleted_and_begun_anew_has_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before = identity_of(claimed_at(A))
    optuna.delete_study(study_name="tiny", storage=A)
    after = identity_of(claimed_at(f"sqlite:///{tmp_path}/a.db"))
    assert before.id != after.id
    assert json.loads(((HOME / "tiny") / OWNER).read_text())["id"] == after.id


def test_database_and_folder_go_on_wherever_they_are_copied_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    before = identity_of(claimed_at(f"sqlite:///{tmp_path}/here/a.db"))
    shutil.copytree(tmp_path / "here", tmp_path / "there")
    monkeypatch.chdir(tmp_path / "there")
    for path in Path().glob("a.db*"):  # with its log
        path.rename(path.name.replace("a.db", "b.db"))
    after = identity_of(claimed_at(B))
    assert (before.id, after.storage) == (after.id, place("b.db"))
    assert json.loads(((HOME / "tiny") / OWNER).read_text())["storage"] == place("b.db")


def test_the_same_path_on_another_machine_is_another_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    study = claimed_at(A)
    path = (HOME / "tiny") / OWNER
    path.write_text(path.read_text().replace(str(identity_of(study).id), "drawn-elsewhere"))
    require_own_folder(study)  # begun again in the same place
    path.write_text(path.read_text().replace(socket.gethostname(), "elsewhere"))
    with pytest.raises(
        SearchError,
        match=rf"in {place('a.db')} on elsewhere, not to that in {place('a.db')} on {socket.gethostname()}\.",
    ):
        require_own_folder(study)


def test_runs_in_several_folders_share_one_study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url, ids = f"sqlite:///{tmp_path}/a.db", []
    for machine in ("one", "two"):
        (tmp_path / machine).mkdir()
        monkeypatch.chdir(tmp_path / machine)
        ids.append(identity_of(claimed_at(url)).id)
        require_own_folder(load_study(open_storage(url, create=False), "tiny"))
    assert ids[0] == ids[1]


def test_a_study_and_a_folder_of_an_older_version_take_a_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (HOME / "tiny").mkdir(parents=True)
    ((HOME / "tiny") / "report.md").write_text("old")
    study = study_at(A)
    require_own_folder(study)
    assert TOKEN not in study.optuna._storage.get_study_system_attrs(study.optuna._study_id)
    claim_folder(study)
    assert json.loads(((HOME / "tiny") / OWNER).read_text())["id"] == identity_of(study).id


@pytest.mark.parametrize("content", ["", "[]", '{"study": "tiny"}', "\\xff"])
def test_a_damaged_owner_is_one_clean_error(content: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    study = claimed_at(A)
    ((HOME / "tiny") / OWNER).write_text(content)
    with pytest.raises(
        SearchError, match=r"study\.json must name the study of this folder; it cannot be read: it is damaged\. Delete"
    ):
        claim_folder(study)


@pytest.mark.process
def test_no_password_stands_in_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    claimed_at(A)
    path = (HOME / "tiny") / OWNER
    path.write_text(path.read_text().replace(place("a.db"), "postgresql+psycopg://me:***@host/db"))
    with pytest.raises(SearchError, match=r"me:\*\*\*@host/db, not to that in sqlite:////.*/b\.db"):
        require_own_folder(study_at(B))


def altered(folder: Path) -> None:
    """Another network of the same configuration, whole in itself."""
    kept = load_checkpoint(folder)
    torch.manual_seed(1)
    save_checkpoint(
        folder, build(kept.config, len(kept.class_names)), kept.config, kept.class_names, origin=kept.origin
    )


def forget_checksums(study: Study) -> None:
    """The study's record is as an older version wrote it."""
    final: dict[str, Any] = study.optuna.user_attrs["final"]
    study.optuna.set_user_attr(
        "final", {**final, "predictions": None, "runs": [{**run, "checkpoint": None} for run in final["runs"]]}
    )
    study.optuna.set_user_attr("exports", [])


@pytest.mark.slow
def test_what_a_score_stands_on_is_what_the_study_wrote(say: Say, whole: Path, tmp_path: Path) -> None:
    shutil.copytree(whole / "studies", tmp_path / "studies")
    folder = tmp_path / "studies" / NAME
    assert json.loads((folder / OWNER).read_text())["study"] == NAME
    assert say("export", "--to", "out", "--format", "safetensors")[0] == 0
    told = json.loads((tmp_path / "out" / "config.json").read_text())["origin"]["study"]
    assert (told["study"], set(told)) == (NAME, {"study", "id", "test_fingerprint"}), (
        "a model does not tell where its study is kept"
    )

    (folder / "export" / "model.onnx").write_bytes(b"other")
    code, _, errors = say(*RUN)
    assert (code, "export/model.onnx must be the file that the study" in errors) == (2, True)
    shutil.rmtree(folder / "export")
    assert say(*RUN)[0] == 0, "it is exported again"
    assert say("export", "--to", folder / "export", "--format", "onnx")[0] == 0
    assert say(*RUN)[0] == 0, "what the command exported there is the study's too"

    path = predictions_path(HOME / NAME)
    kept = dict(np.load(path, allow_pickle=False))
    np.savez(
        path, labels=kept["labels"], probabilities=kept["probabilities"] ** 2
    )  # of the same answers, and so of the same score
    code, _, errors = say("export", "--to", "out")
    assert (code, "predictions.npz must be the file of the study's final models; its checksum" in errors) == (2, True)
    path.unlink()

    (checkpoint,) = (folder / "final").glob("seed-*")
    altered(checkpoint)
    code, _, errors = say("export", "--to", "out")
    assert (code, "trained and tested; its checksum differs" in errors) == (2, True)


@pytest.mark.slow
def test_another_model_in_the_folder_of_an_older_version_is_told_by_its_score(
    say: Say, whole: Path, tmp_path: Path
) -> None:
    shutil.copytree(whole / "studies", tmp_path / "studies")
    study = load_study(open_storage("sqlite:///studies/fmnist.db", create=False), NAME)
    forget_checksums(study)
    (tmp_path / "studies" / NAME / OWNER).unlink()
    assert say(*RUN)[0] == 0
    assert say("export", "--to", "out", "--format", "safetensors")[0] == 0
    (checkpoint,) = (tmp_path / "studies" / NAME / "final").glob("seed-*")
    altered(checkpoint)
    code, _, errors = say("export", "--to", "out")
    assert (code, "must be the model that the study tested, with macro F1" in errors) == (2, True)
