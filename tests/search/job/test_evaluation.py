"""An opening of the test split is recorded in the study whose images are scored: once, and wherever the model lies."""

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
import torch

from fmnist.checkpoint import save_checkpoint
from fmnist.config import TrialConfig
from fmnist.data.arrays import write_npz
from fmnist.data.sources import Source, fingerprint
from fmnist.data.splits import test_fingerprint as fingerprint_of_test  # pytest would take the name for a test
from fmnist.network import build
from search.storage.opening import open_storage
from search.study.ownership import OWNER, claim_folder, identity_of
from search.study.paths import HOME
from search.study.records import DataRecord
from search.study.study import Study, create_study
from tests.fmnist.data.forms import FORMS, TRAIN, as_npz
from tests.search.tiny import DEADLINE, Say, command, surroundings, tiny_spec

URL = "sqlite:///studies/fmnist.db"


def study_of(source: Source, name: str = "tiny") -> Study:
    """A study of these data, as a run begins it."""
    record = DataRecord(
        name=source.name,
        fingerprint=fingerprint(source.train()),
        train=100,
        valid=20,
        class_names=source.train().class_names,
        test_fingerprint=fingerprint_of_test(source),
        path=source.path,
        test_path=source.test_path,
    )
    study = create_study(open_storage(URL, create=True), tiny_spec().model_copy(update={"name": name}), record)
    claim_folder(study)
    return study


def model_of(study: Study, source: Source, folder: Path = Path("model"), says: Any = ...) -> Path:
    """An export of the study, as far as `evaluate` reads it, which `says` what its study is."""
    torch.manual_seed(0)
    config, names = TrialConfig(depth=1, filters=4), source.train().class_names
    made_by = identity_of(study).model_dump(exclude={"storage", "host"}) if says is ... else says
    origin = {"data": source.name, "pictures": source.preparation.model_dump(mode="json"), "study": made_by}
    save_checkpoint(folder, build(config, len(names)), config, names, origin=origin)
    (folder / "metrics.json").write_text("{}")
    return folder


def openings(name: str = "tiny") -> list[str]:
    attributes = optuna.load_study(study_name=name, storage=URL).user_attrs
    return [entry["by"] for entry in attributes.get("openings", [])]


@pytest.mark.parametrize("form", FORMS)
def test_in_whatever_form_the_images_come_the_models_study_records_them(
    form: Callable[[Path], Source], say: Say, tmp_path: Path
) -> None:
    (tmp_path / "data").mkdir()
    source = form(tmp_path / "data")
    model = model_of(study_of(source), source)
    code, output, errors = say("evaluate", model)  # on the study's own images, which it finds by itself
    assert (code, errors) == (0, "")
    assert "Recorded as an opening of the test split in the study 'tiny'." in output
    assert openings() == ["evaluate"]
    (tmp_path / "again").mkdir()
    code, output, _ = say("evaluate", model, "--data", as_npz(tmp_path / "again").path or "")
    assert (code, openings()) == (0, ["evaluate"] * 2), "they are the same images"
    assert json.loads((model / "metrics.json").read_text()) == {}


def test_only_the_studys_own_test_images_are_an_opening(say: Say, tmp_path: Path) -> None:
    source = as_npz(tmp_path)
    study = study_of(source)
    model = model_of(study, source)
    write_npz(tmp_path / "other.npz", TRAIN, TRAIN.take(np.arange(40)))
    for more in ((), ("--study", "tiny")):
        code, output, _ = say("evaluate", model, "--data", "other.npz", *more)
        assert code == 0
        assert "These are not the test images of the study 'tiny': no opening is recorded." in output
    code, _, errors = say("evaluate", model, "--data", "synthetic", "--study", "tiny")
    assert (code, "must have the model's classes" in errors) == (2, True)
    assert openings() == []


def test_a_named_study_and_the_models_own_record_it_each_once(say: Say, tmp_path: Path) -> None:
    source = as_npz(tmp_path)
    model = model_of(study_of(source), source)
    study_of(source, "second")
    assert say("evaluate", model, "--study", "tiny")[0] == 0
    assert (openings(), openings("second")) == (["evaluate"], [])
    assert say("evaluate", model, "--study", "second")[0] == 0
    assert (openings(), openings("second")) == (["evaluate"] * 2, ["evaluate"])


@pytest.mark.process
def test_a_copy_whose_study_is_not_here_says_so_and_keeps_count_itself(
    say: Say, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = as_npz(tmp_path)
    model = model_of(study_of(source), source).resolve()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    copy = Path(shutil.copytree(model, "copy"))
    for count in (1, 2):
        code, output, _ = say("evaluate", copy, "--data", tmp_path / "both.npz")
        assert code == 0
        assert "The study 'tiny', which made the model, is not in the storage, so it has no record of this" in output
        assert f"It is noted in copy/metrics.json: opening {count} without a record in the study." in output
    noted = json.loads(Path("copy/metrics.json").read_text())["openings"]
    assert [entry["test_fingerprint"] for entry in noted] == [fingerprint_of_test(source)] * 2
    write_npz(tmp_path / "other.npz", TRAIN, TRAIN.take(np.arange(40)))
    assert "these are not its test images" in say("evaluate", copy, "--data", tmp_path / "other.npz")[1]
    assert len(json.loads(Path("copy/metrics.json").read_text())["openings"]) == 2
    code, output, _ = say("evaluate", copy, "--storage", f"sqlite:///{tmp_path}/studies/fmnist.db")
    assert (code, "Recorded as an opening" in output) == (0, True)
    (copy / "metrics.json").unlink()
    assert "The opening could not be noted" in say("evaluate", copy, "--data", tmp_path / "both.npz")[1]


@pytest.mark.process
def test_a_study_of_the_same_name_that_did_not_make_the_model_records_nothing(say: Say, tmp_path: Path) -> None:
    source = as_npz(tmp_path)
    model = model_of(study_of(source), source)
    optuna.delete_study(study_name="tiny", storage=URL)
    study_of(source)
    code, output, _ = say("evaluate", model, "--data", "both.npz")
    assert (code, "which made the model, is not in the storage" in output) == (0, True)
    assert openings() == []


@pytest.mark.process
def test_a_checkpoint_in_a_studys_folder_is_of_that_study(say: Say, tmp_path: Path) -> None:
    source = as_npz(tmp_path)
    study = study_of(source)
    folder = model_of(study, source, (HOME / "tiny") / "final" / "seed-2000", says=None)
    assert say("evaluate", folder)[0] == 0
    assert openings() == ["evaluate"]
    ((HOME / "tiny") / OWNER).unlink()
    code, output, _ = say("evaluate", folder, "--data", "both.npz")
    assert (code, "The model does not name its study" in output) == (0, True)
    assert openings() == ["evaluate"]


@pytest.mark.process
def test_a_record_in_a_model_that_is_none_is_taken_for_none(say: Say, tmp_path: Path) -> None:
    source = as_npz(tmp_path)
    model = model_of(study_of(source), source, says={"name": 3})
    code, output, _ = say("evaluate", model, "--data", "both.npz")
    assert (code, "The model does not name its study" in output) == (0, True)


@pytest.mark.slow
def test_openings_by_several_processes_at_once_are_all_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    source = as_npz(tmp_path)
    model = model_of(study_of(source), source)
    copy = Path(shutil.copytree(model, "copy/model"))
    running = [
        subprocess.Popen(
            command("evaluate", *arguments),
            cwd=tmp_path,
            env=surroundings(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        for arguments in [(model,), (copy, "--data", "both.npz")] * 3
    ]
    for process in running:
        _, errors = process.communicate(timeout=DEADLINE)
        assert process.returncode == 0, errors
    assert openings() == ["evaluate"] * 6, "the copy finds its study in the storage that is named, or the default one"
