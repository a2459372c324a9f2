"""Records that another version of the toolkit wrote."""

import json
import shutil
from pathlib import Path
from typing import Any

import optuna
import pytest

from tests.search.tiny import NAME, RUN, TOML, Say, run_command

pytestmark = pytest.mark.process

AGAIN = (*RUN, "--trials", "1")
URL = "sqlite:///studies/fmnist.db"
RECORDS = ("final", "environments", "openings")


def changed(key: str, change: dict[str, Any]) -> None:
    """The record, or the last one of a list, has these fields too."""
    study = optuna.load_study(study_name=NAME, storage=URL)
    found = study.user_attrs[key]
    new = [*found[:-1], found[-1] | change] if isinstance(found, list) else found | change
    study.set_user_attr(key, json.loads(json.dumps(new)))


@pytest.mark.parametrize("key", RECORDS)
def test_a_field_that_a_later_version_wrote_is_passed_over(key: str, finished: Say) -> None:
    changed(key, {"later": {"deep": [1]}})
    for command in (
        ("best", NAME),
        ("report", NAME),
        ("status",),
        ("export", NAME, "--to", "out", "--format", "safetensors"),
        AGAIN,
    ):
        code, _, errors = finished(*command)
        assert (code, "Traceback" in errors) == (0, False), f"{command}: {errors}"


@pytest.mark.parametrize(
    ("key", "change"), [("final", {"mean": "high"}), ("data", {"train": None}), ("spec", {"search": 5})]
)
def test_a_record_that_cannot_be_read_is_one_clean_error(key: str, change: dict[str, Any], finished: Say) -> None:
    changed(key, change)
    for command in (("export", NAME, "--to", "out"), AGAIN):
        code, _, errors = finished(*command)
        assert code == 2
        assert f"record {key}." in errors.replace("'", "")
        assert "Use the version of fmnist-search that wrote the study." in errors


@pytest.fixture
def finished(say: Say, tmp_path: Path, study_of_once: Path) -> Say:
    """The command in a folder with a study that is finished."""
    shutil.copytree(study_of_once / "studies", tmp_path / "studies")
    return say


@pytest.fixture(scope="module")
def study_of_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("once")
    (folder / "tiny.toml").write_text(TOML)
    assert run_command(folder, *AGAIN).returncode == 0
    return folder
