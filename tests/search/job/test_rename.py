"""A study with another name is the same study, wherever its name was held."""

import errno
import json
import uuid
from pathlib import Path
from typing import Any

import optuna
import pytest
from PIL import Image

from fmnist.data import synthetic
from search.dashboard.artifacts import ARTIFACTS, StudyFolders, attach
from search.report.render import read_report, write_report
from search.storage.opening import open_storage
from search.study.lock import sole_run
from search.study.records import PriorRecord
from search.study.study import Study, load_study
from tests.search.job.test_delete import URL, files, kept, names
from tests.search.job.test_plan import begun, planned
from tests.search.sample import trial
from tests.search.tiny import NAME, RUN, Say, in_database, tiny_spec


def opened(name: str) -> Study:
    return load_study(open_storage(URL, create=False), name)


def artifacts(study: Study) -> dict[tuple[str, str], bytes]:
    """The files that the dashboard shows: whether of the study or of which trial, and the name -> the content."""
    attributes = study.storage.get_study_system_attrs(study.id)
    store, found = StudyFolders(Path("studies")), {}
    for key in [key for key in attributes if "artifacts:" in key]:
        record, owner = json.loads(attributes[key]), key.rpartition(":")[0]
        assert (owner, record["filename"]) not in found
        with store.open_reader(record["artifact_id"]) as file:
            found[owner, record["filename"]] = file.read()
    return found


def test_a_study_and_all_that_holds_its_name_are_renamed(say: Say, tmp_path: Path) -> None:
    study = Study(kept(tmp_path).optuna, tmp_path / "studies")
    write_report(read_report(study), study.folder)
    attach(study, "mine-best.toml", b"toml")
    attach(study, "curve.png", b"png", study.trials()[0])
    (tmp_path / "studies" / ARTIFACTS).mkdir()
    added = str(uuid.uuid4())  # by a person, in the dashboard
    (tmp_path / "studies" / ARTIFACTS / added).write_bytes(b"own")
    record = {"artifact_id": added, "filename": "own.txt", "mimetype": "text/plain", "encoding": None}
    study.storage.set_study_system_attr(study.id, f"artifacts:{added}", json.dumps(record))
    before = len(files(tmp_path / "studies"))

    code, output, errors = say("rename", "mine", "new")
    assert (code, errors, names()) == (0, "", ["new"])
    assert "The study 'mine' is now 'new'." in output
    assert "To continue it, give --name new to the command that began it." in output
    assert "studies/new/export are as they were made and sealed: " in output
    assert "config.json and MODEL_CARD.md have the old name" in output
    after = files(tmp_path / "studies")
    assert (len(after), [path for path in after if "mine" in path], "new/run.json" in after) == (before, [], False)
    assert list((tmp_path / "studies").glob("*mine*")) == []
    renamed = opened("new")
    assert (renamed.spec.name, [one.value for one in renamed.trials()]) == ("new", [0.8, 0.9, None])
    assert json.loads((renamed.folder / "study.json").read_text())["study"] == "new"
    assert json.loads((renamed.folder / "report.json").read_text())["study"] == "new"
    shown = {"new-best.toml": b"toml", "curve.png": b"png", "own.txt": b"own"}
    assert {name: content for (_, name), content in artifacts(renamed).items()} == shown
    assert say("report", "new")[0] == 0

    in_database(tmp_path, tiny_spec().overridden(name="mine"))
    assert say("delete", "mine", "--yes")[0] == 0
    assert (names(), len(artifacts(opened("new")))) == (["new"], 3)


def test_a_renamed_study_is_continued_under_its_new_name(say: Say) -> None:
    begun().optuna.add_trial(trial(0.8))
    assert say("rename", NAME, "new")[0] == 0
    assert planned(say, "--name", "new") == "1 of 3 trials is finished; the run goes on with the search"
    assert planned(say) == ""


@pytest.mark.parametrize(
    ("name", "new", "says"),
    [
        ("mine", "../x", "A study's name must be 1 to 100 of the characters"),
        ("mine", "another", "The storage has a study named 'another' already."),
        ("mine", "mine", "The storage has a study named 'mine' already."),
        ("mine", "there", "There is a folder studies/there already."),
        ("nine", "new", "The storage holds no study named 'nine'. Did you mean 'mine'?"),
        ("bands", "new", "its pruner, hyperband, divides the trials by the study's name"),
    ],
)
def test_a_name_that_is_none_or_taken_is_refused_and_nothing_changes(
    name: str, new: str, says: str, say: Say, tmp_path: Path
) -> None:
    kept(tmp_path)
    in_database(tmp_path, tiny_spec().overridden(name="another"))
    in_database(tmp_path, tiny_spec(pruner="hyperband").overridden(name="bands"))
    (tmp_path / "studies" / "there").mkdir()
    before = files(tmp_path / "studies")
    code, output, errors = say("rename", name, new)
    assert (code, output, says in errors) == (2, "", True), errors
    assert (names(), files(tmp_path / "studies")) == (["mine", "another", "bands"], before)
    assert opened("mine").spec.name == "mine"


def test_a_rename_that_was_interrupted_holds_both_names_until_the_same_command_ends_it(
    say: Say, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept(tmp_path)

    def busy(path: Path, _: Path) -> Path:
        raise OSError(errno.EBUSY, "Device or resource busy", str(path))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", busy)
        code, _, errors = say("rename", "mine", "new")
    assert (code, "run the same command again to finish" in errors, names()) == (2, True, ["new"]), errors
    before = files(tmp_path / "studies")
    run = ("run", "tiny.toml", "--data", "synthetic", "--dry-run", "--name")
    for command in ((*run, "new"), (*run, "mine"), ("report", "new"), ("delete", "new"), ("delete", "mine")):
        code, _, errors = say(*command)
        assert (code, "Finish that first: fmnist-search rename mine new" in errors) == (2, True), (command, errors)
    assert (say("status")[0], files(tmp_path / "studies")) == (0, before)
    assert say("rename", "mine", "new")[0] == 0
    assert [path for path in files(tmp_path / "studies") if "mine" in path] == []
    assert say("report", "new")[0] == 0
    code, _, errors = say("rename", "mine", "new")
    assert (code, "no study named 'mine'" in errors) == (2, True)


def test_studies_that_begin_with_it_know_its_new_name(say: Say, tmp_path: Path) -> None:
    kept(tmp_path)
    later = in_database(
        tmp_path, tiny_spec(sampler="gp", pruner="freeze-thaw").overridden(name="later", prior=("mine",))
    )
    later.write(PriorRecord(trainings={"mine": 2, "other": 1}, openings={"mine": 3}))
    with sole_run(later.folder, "later", later.storage):
        code, _, errors = say("rename", "mine", "new")
    assert code == 2
    assert "later" in errors, "a run of it would write the old name back"
    assert "The study 'later' begins with its trials: continue it with --from new." in say("rename", "mine", "new")[1]
    told = opened("later")
    assert told.spec.prior.studies == ("new",)
    assert told.read(PriorRecord) == PriorRecord(trainings={"new": 2, "other": 1}, openings={"new": 3})


def test_another_programs_study_is_renamed_without_a_folder(say: Say, tmp_path: Path) -> None:
    storage = open_storage(URL, create=True)
    optuna.create_study(study_name="mine", storage=storage)
    (tmp_path / "studies" / "mine").mkdir()
    code, output, _ = say("rename", "mine", "new")
    assert (code, "Another program made the study" in output, names()) == (0, True, ["new"])
    assert (tmp_path / "studies" / "mine").exists()


@pytest.mark.slow
def test_a_finished_study_is_whole_under_its_new_name(say: Say, finished: Path) -> None:
    files_before = set(artifacts(opened(NAME)))
    assert say("rename", NAME, "new")[0] == 0
    Image.fromarray(synthetic.draw(1, seed=1).pixels[0]).save("shoe.png")
    commands: tuple[tuple[Any, ...], ...] = (("status",), ("best", "new"), ("predict", "new", "shoe.png"))
    for command in (*commands, ("report", "new"), (*RUN, "--name", "new")):
        code, output, errors = say(*command)
        assert (code, NAME in output) == (0, False), (command, output, errors)
    assert 'name = "new-best"' in say("best", "new")[1]
    code, output, _ = say("evaluate", finished / "studies" / "new" / "export")
    assert (code, "Recorded as an opening of the test split in the study 'new'." in output) == (0, True)
    study = opened("new")
    assert {(owner, name.replace("new", NAME)) for owner, name in artifacts(study)} == files_before
    notes = [value for key, value in study.storage.get_study_system_attrs(study.id).items() if "note_str" in key]
    assert notes
    assert NAME not in "".join(notes)
