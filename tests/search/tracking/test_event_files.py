"""Event files, as TensorBoard's own reader reads them."""

from pathlib import Path
from typing import Any

import pytest

from search.errors import SearchError
from search.tracking.event_files import EventFiles
from tests.search.tiny import in_database, tiny_spec
from tests.search.tracking.tracked import ALL, BEGAN, facts_of, study_in

pytest.importorskip("tensorboard")


@pytest.fixture
def logs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> EventFiles:
    monkeypatch.chdir(tmp_path)
    files = EventFiles(tmp_path / "studies" / "tiny" / "tensorboard")
    for _ in files.send(facts_of(study_in(tmp_path))):
        pass
    return files


def read(logs: EventFiles, run: str) -> Any:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    return EventAccumulator(str(logs.folder / run)).Reload()


def scalars(logs: EventFiles, run: str, tag: str) -> list[tuple[int, float]]:
    return [(event.step, round(event.value, 6)) for event in read(logs, run).Scalars(tag)]


def hparams(logs: EventFiles, run: str) -> tuple[dict[str, object], int]:
    """The hyperparameters of a run's session and the status of its end."""
    from tensorboard.plugins.hparams import metadata

    content = read(logs, run).summary_metadata
    start = metadata.parse_session_start_info_plugin_data(content[metadata.SESSION_START_INFO_TAG].plugin_data.content)
    end = metadata.parse_session_end_info_plugin_data(content[metadata.SESSION_END_INFO_TAG].plugin_data.content)
    return {name: getattr(value, value.WhichOneof("kind")) for name, value in start.hparams.items()}, end.status


def files_of(logs: EventFiles) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in logs.folder.rglob("*") if path.is_file()}


def test_every_training_is_a_run_with_its_curve(logs: EventFiles) -> None:
    assert {path.parent.name for path in logs.folder.glob("*/events*")} == {*ALL, "result"}
    assert scalars(logs, "trial-000", "f1/validation") == [(1, 0.7), (2, 0.8)]
    assert scalars(logs, "trial-000", "loss/train") == [(1, 0.9), (2, 0.6)]
    assert scalars(logs, "trial-001", "f1/validation") == [(1, 0.7)]
    assert read(logs, "trial-000").Scalars("f1/validation")[1].wall_time == BEGAN.timestamp() + 20
    assert scalars(logs, "confirm-trial-000-seed-1000", "f1/validation") == [(1, 0.7), (2, 0.8)]


def test_a_training_without_a_stored_curve_has_its_score(logs: EventFiles) -> None:
    assert scalars(logs, "confirm-trial-000-seed-1001", "f1/validation") == [(10, 0.81)]
    assert scalars(logs, "final-seed-2001", "f1/test") == [(10, 0.95)]


def test_final_trainings_and_the_result_have_test_scores(logs: EventFiles) -> None:
    assert scalars(logs, "final-seed-2000", "f1/test") == [(10, 0.94)]
    assert scalars(logs, "final-seed-2000", "loss/train") == [(1, 0.9), (2, 0.6)]
    assert scalars(logs, "result", "f1/test") == [(10, 0.945)]
    text = read(logs, "result").Tensors("result")[0].tensor_proto.string_val[0].decode()
    assert text.startswith("Test macro F1 0.9450")


def test_the_table_of_hparams_has_the_trials_with_knobs_state_and_size(logs: EventFiles) -> None:
    knobs, status = hparams(logs, "trial-000")
    assert knobs == {
        "depth": 2,
        "learning_rate": 0.0012345,
        "head": "max",
        "parameters": 105_674,
        "flops": 12_300_000,
        "state": "complete",
    }
    assert status == 1  # success
    assert [hparams(logs, f"trial-00{number}")[0]["state"] for number in (1, 2, 3)] == ["pruned", "failed", "refused"]
    assert hparams(logs, "trial-002")[1] == 2  # failure
    assert "_hparams_/session_start_info" not in read(logs, "final-seed-2000").summary_metadata


def test_the_reason_of_an_early_end_is_in_its_text(logs: EventFiles) -> None:
    text = read(logs, "trial-001").Tensors("training")[0].tensor_proto.string_val[0].decode()
    assert text.startswith("pruned: below the median\n")
    assert "| depth | 2 |" in text


def test_nothing_is_written_twice_and_what_is_missing_is_completed(logs: EventFiles, tmp_path: Path) -> None:
    before, study = files_of(logs), in_database(tmp_path, tiny_spec())
    list(EventFiles(logs.folder).send(facts_of(study)))
    assert files_of(logs) == before
    (gone,) = (logs.folder / "trial-001").iterdir()
    gone.rename(gone.with_name("unfinished"))  # as a kill leaves it
    list(EventFiles(logs.folder).send(facts_of(study)))
    assert scalars(logs, "trial-001", "f1/validation") == [(1, 0.7)]
    assert files_of(logs).keys() == before.keys()


def test_event_files_of_a_deleted_study_of_that_name_are_not_taken_for_its_own(
    logs: EventFiles, tmp_path: Path
) -> None:
    (logs.folder / "study-id").write_text("another")
    before = files_of(logs)
    with pytest.raises(SearchError, match=r"holds the event files of another study.*Move or delete"):
        list(logs.send(facts_of(in_database(tmp_path, tiny_spec()))))
    assert files_of(logs) == before
