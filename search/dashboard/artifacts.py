"""The files that optuna-dashboard shows with a study or a trial, stored by id in the folder of their study."""

import json
import mimetypes
import shutil
import uuid
from pathlib import Path
from typing import BinaryIO

from optuna.artifacts.exceptions import ArtifactNotFound
from optuna.trial import FrozenTrial

from fmnist.atomic import write_in_place
from search.storage.optuna_private import trial_id
from search.study.study import Study

ARTIFACTS = "artifacts"  # folder in the study's folder
KINDS = {
    ".onnx": "application/onnx",
    ".toml": "text/plain",
    ".safetensors": "application/octet-stream",
    ".pt2": "application/octet-stream",
}


class StudyFolders:
    """An Optuna artifact store over the folders of all studies."""

    def __init__(self, home: Path) -> None:
        self._home = home

    def open_reader(self, artifact_id: str) -> BinaryIO:
        """Open the artifact. Raises: ArtifactNotFound."""
        return self._path(artifact_id).open("rb")

    def write(self, artifact_id: str, content_body: BinaryIO) -> None:
        """Store an artifact added in the dashboard beside the studies: the dashboard does not pass its study."""
        folder = self._home / ARTIFACTS
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / _checked(artifact_id)).open("wb") as file:
            shutil.copyfileobj(content_body, file)

    def remove(self, artifact_id: str) -> None:
        """Delete the artifact. Raises: ArtifactNotFound."""
        self._path(artifact_id).unlink()

    def _path(self, artifact_id: str) -> Path:
        name = _checked(artifact_id)
        for path in (self._home / ARTIFACTS / name, *self._home.glob(f"*/{ARTIFACTS}/{name}")):
            if path.is_file():
                return path
        raise ArtifactNotFound(f"There is no artifact {artifact_id} in the folders of the studies.")


def attach(study: Study, name: str, content: bytes, trial: FrozenTrial | None = None) -> None:
    """Attach a file to the study, or to the trial; an earlier one of the same name is replaced."""
    artifact_id = _id(study, name, trial)
    write_in_place(study.folder / ARTIFACTS / artifact_id, content)
    kind = KINDS.get(Path(name).suffix) or mimetypes.guess_type(name)[0] or "application/octet-stream"
    record = json.dumps({"artifact_id": artifact_id, "filename": name, "mimetype": kind, "encoding": None})
    key = _key(study, name, trial)
    if study.storage.get_study_system_attrs(study.id).get(key) != record:
        study.storage.set_study_system_attr(study.id, key, record)


def is_attached(study: Study, name: str, trial: FrozenTrial | None = None) -> bool:
    """Return whether the study or the trial has an artifact of that name, and its file exists."""
    path = study.folder / ARTIFACTS / _id(study, name, trial)
    return bool(study.storage.get_study_system_attrs(study.id).get(_key(study, name, trial))) and path.is_file()


def renamed_records(study: Study, name: str) -> dict[str, str | None]:
    """Return the system attributes of the study's artifacts as another name of the study makes them; None deletes one.

    Artifacts that a person added stay as they are. `rename_files` then renames the files.
    """
    attributes = study.storage.get_study_system_attrs(study.id)
    changes: dict[str, str | None] = {}
    for trial in (None, *study.trials()):
        for key in [key for key in attributes if key.startswith(f"{_owner(trial)}:")]:
            record = json.loads(attributes[key])
            if record and key == f"{_owner(trial)}:{_id_in(study.name, record['filename'], trial)}":
                file = renamed(record["filename"], study.name, name)
                new = _id_in(name, file, trial)
                changes[key] = None
                changes[f"{_owner(trial)}:{new}"] = json.dumps(record | {"artifact_id": new, "filename": file})
    return changes


def rename_files(study: Study, before: str) -> None:
    """Rename the files of the artifacts of a study that had the name `before`; those that have theirs already stay."""
    attributes = study.storage.get_study_system_attrs(study.id)
    for trial in (None, *study.trials()):
        for key in [key for key in attributes if key.startswith(f"{_owner(trial)}:")]:
            if record := json.loads(attributes[key]):
                old = _id_in(before, renamed(record["filename"], study.name, before), trial)
                if (path := study.folder / ARTIFACTS / old).is_file():
                    path.replace(path.with_name(record["artifact_id"]))


def renamed(file: str, before: str, name: str) -> str:
    """Return the file's name with another name of the study, if it has the study's."""
    return best_file(name) if file == best_file(before) else file


def best_file(study: str) -> str:
    """Return the name of the artifact with the winning configuration."""
    return f"{study}-best.toml"


def _id(study: Study, name: str, trial: FrozenTrial | None) -> str:
    return _id_in(study.name, name, trial)


def _id_in(study: str, name: str, trial: FrozenTrial | None) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"{study}/{f'trial {trial.number}' if trial else 'study'}/{name}"))


def _key(study: Study, name: str, trial: FrozenTrial | None) -> str:
    return f"{_owner(trial)}:{_id(study, name, trial)}"


def _owner(trial: FrozenTrial | None) -> str:
    # A finished trial cannot be given attributes; the dashboard also looks for its artifacts in the study's.
    return f"dashboard:artifacts:{trial_id(trial)}" if trial else "artifacts"


def _checked(artifact_id: str) -> str:
    try:
        return str(uuid.UUID(artifact_id))
    except ValueError:
        raise ArtifactNotFound(f"An artifact's id must be a UUID, got {artifact_id!r}.") from None
