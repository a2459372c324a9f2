"""Runs in a store of MLflow, as its own client reads them."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState

from search.errors import SearchError
from search.storage.optuna_private import study_id
from search.storage.sharing import Share
from search.tracking.mlflow_runs import MlflowRuns
from tests.search.tiny import in_database, tiny_spec
from tests.search.tracking.tracked import ALL, BEGAN, ended, facts_of, free_port, study_in

pytest.importorskip("mlflow")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # of MLflow and what it imports


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a study that was sent to the store in the study's folder; MLflow makes its tables once."""
    folder = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        send(folder)
    return folder


@pytest.fixture
def sent(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy to work in, which is the current folder. The artifacts stay where they were made."""
    shutil.copytree(made / "studies", tmp_path / "studies")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return tmp_path


def send(folder: Path) -> None:
    study = study_in(folder) if not (folder / "studies").exists() else in_database(folder, tiny_spec())
    list(MlflowRuns(study.folder).send(facts_of(study)))


def client(folder: Path) -> Any:
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=f"sqlite:///{folder}/studies/tiny/mlflow.db")


def runs(folder: Path) -> list[Any]:
    return list(client(folder).search_runs([experiment(folder).experiment_id]))


def run(folder: Path, name: str) -> Any:
    (found,) = (run for run in runs(folder) if run.info.run_name == name)
    return found


def experiment(folder: Path) -> Any:
    (found,) = (each for each in client(folder).search_experiments() if each.name != "Default")
    return found


def history(folder: Path, name: str, metric: str) -> list[tuple[int, float]]:
    kept = client(folder).get_metric_history(run(folder, name).info.run_id, metric)
    return [(each.step, each.value) for each in kept]


def test_trainings_are_nested_in_the_run_of_their_study(sent: Path) -> None:
    parent = run(sent, "tiny")
    assert experiment(sent).name == "tiny"
    nested = {each.info.run_name for each in runs(sent) if each.data.tags.get("mlflow.parentRunId")}
    assert nested == ALL
    assert {each.data.tags["mlflow.parentRunId"] for each in runs(sent) if each.info.run_name in ALL} == {
        parent.info.run_id
    }


def test_a_run_has_the_curve_the_knobs_and_the_state_of_its_training(sent: Path) -> None:
    assert history(sent, "trial-000", "f1/validation") == [(1, 0.7), (2, 0.8)]
    assert history(sent, "trial-000", "loss/train") == [(1, 0.9), (2, 0.6)]
    trial = run(sent, "trial-000")
    assert trial.info.start_time == BEGAN.timestamp() * 1000
    assert trial.info.end_time - trial.info.start_time == 20_000
    assert (trial.data.params["depth"], trial.data.params["seed"]) == ("2", "7")
    assert trial.data.metrics["parameters"] == 105_674
    found = [run(sent, f"trial-00{number}") for number in range(4)]
    assert [each.info.status for each in found] == ["FINISHED", "KILLED", "FAILED", "KILLED"]
    assert [each.data.tags["state"] for each in found] == ["complete", "pruned", "failed", "refused"]
    assert [each.data.tags.get("reason") for each in found[:2]] == [None, "below the median"]


def test_the_studys_run_has_the_result_the_report_and_the_model(sent: Path) -> None:
    parent = run(sent, "tiny")
    assert parent.info.status == "FINISHED"
    assert parent.data.metrics["f1/test"] == pytest.approx(0.945)
    assert parent.data.metrics["f1/validation"] == pytest.approx(0.8)
    assert parent.data.params["search.sampler"] == "random"
    assert parent.data.tags["mlflow.note.content"].startswith("Test macro F1 0.9450")
    files = client(sent).list_artifacts(parent.info.run_id)
    assert {each.path for each in files} == {"report.html", "model"}
    assert [each.path for each in client(sent).list_artifacts(parent.info.run_id, "model")] == ["model/model.onnx"]


def test_what_is_there_is_not_sent_again(sent: Path) -> None:
    before = {each.info.run_id for each in runs(sent)}
    study = in_database(sent, tiny_spec())
    assert list(MlflowRuns(study.folder).send(facts_of(study))) == []
    assert {each.info.run_id for each in runs(sent)} == before


def test_a_training_that_was_sent_in_part_is_completed_in_its_run(sent: Path) -> None:
    store, study = client(sent), in_database(sent, tiny_spec())
    store.update_run(
        run(sent, "trial-000").info.run_id, status="RUNNING"
    )  # as a kill before the last request leaves it
    store.delete_run(run(sent, "trial-001").info.run_id)
    assert len(list(MlflowRuns(study.folder).send(facts_of(study)))) == 2
    assert len(runs(sent)) == len(ALL) + 1
    assert run(sent, "trial-000").info.status == "FINISHED"
    assert history(sent, "trial-000", "f1/validation") == [(1, 0.7), (2, 0.8)]
    assert history(sent, "trial-001", "f1/validation") == [(1, 0.7)]


def test_a_report_that_changed_is_sent_again(sent: Path) -> None:
    study = in_database(sent, tiny_spec())
    (study.folder / "report.html").write_text("the report, with an ablation")
    list(MlflowRuns(study.folder).send(facts_of(study)))
    path = client(sent).download_artifacts(run(sent, "tiny").info.run_id, "report.html", str(sent))
    assert Path(path).read_text() == "the report, with an ablation"
    assert list(MlflowRuns(study.folder).send(facts_of(study))) == []


def test_a_study_that_is_not_at_its_end_is_running_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    study = study_in(tmp_path)
    tracker = MlflowRuns(study.folder)
    next(tracker.send(facts_of(study, is_over=False)))  # and broken off
    assert {each.info.run_name: each.info.status for each in runs(tmp_path)} == {
        "tiny": "RUNNING",
        "trial-000": "FINISHED",
    }
    list(tracker.send(facts_of(study)))
    assert len(runs(tmp_path)) == len(ALL) + 1
    assert run(tmp_path, "tiny").info.status == "FINISHED"


def test_runs_that_share_a_study_send_nothing_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    study = study_in(tmp_path)
    trackers = {owner: MlflowRuns(study.folder) for owner in ("one", "two")}
    for owner, tracker in trackers.items():
        study.optuna.add_trial(ended(TrialState.COMPLETE, 0.8, owner=owner))
        study.storage.share = Share(owner, 10)
        list(tracker.send(facts_of(study, is_over=False, is_shared=True)))
    own = {"trial-004", "trial-005"}
    assert {each.info.run_name for each in runs(tmp_path)} >= own
    assert not [each for each in runs(tmp_path) if "mlflow.parentRunId" in each.data.tags]
    list(trackers["one"].send(facts_of(study, is_shared=True)))
    assert sorted(each.info.run_name for each in runs(tmp_path)) == sorted({*ALL, *own, "tiny"})
    nested = [each.data.tags.get("mlflow.parentRunId") for each in runs(tmp_path) if each.info.run_name != "tiny"]
    assert set(nested) == {run(tmp_path, "tiny").info.run_id}


def test_a_renamed_study_stays_in_its_experiment(sent: Path) -> None:
    study = in_database(sent, tiny_spec())
    study.storage.rename_study(study_id(study.optuna), "other", {}, {})
    assert list(MlflowRuns(study.folder).send(facts_of(study))) == []
    assert experiment(sent).name == "tiny"


@pytest.mark.parametrize("uri", ["http://127.0.0.1:{port}", "http://me:secret@127.0.0.1:{port}/"])
def test_a_server_that_is_down_is_named_at_once_without_its_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uri: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri.format(port=free_port()))
    study = study_in(tmp_path)
    with pytest.raises(SearchError, match="does not answer: Connection refused") as error:
        list(MlflowRuns(study.folder).send(facts_of(study)))
    assert "secret" not in str(error.value)
