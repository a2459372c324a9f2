"""The files that optuna-dashboard shows with a study or a trial; they lie in the study's own folder, under ids that the
database knows.
"""

import json
import mimetypes
import shutil
import uuid
from pathlib import Path
from typing import BinaryIO

from optuna.artifacts.exceptions import ArtifactNotFound
from optuna.trial import FrozenTrial

from fmnist.atomic import write_in_place
from search.study.study import Study

ARTIFACTS = "artifacts"  # within a study's folder
KINDS = {
    ".onnx": "application/onnx",
    ".toml": "text/plain",
    ".safetensors": "application/octet-stream",
    ".pt2": "application/octet-stream",
}


class StudyFolders:
    """An artifact store of Optuna's over the folders of all studies: an artifact lies in the one of its own study."""

    def __init__(self, home: Path) -> None:
        self._home = home

    def open_reader(self, artifact_id: str) -> BinaryIO:
        """The artifact's bytes. Raises: ArtifactNotFound."""
        return self._path(artifact_id).open("rb")

    def write(self, artifact_id: str, content_body: BinaryIO) -> None:
        """The artifact, which a person adds in the dashboard, lies beside the studies: of which it is, only the
        database is told.
        """
        folder = self._home / ARTIFACTS
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / _checked(artifact_id)).open("wb") as file:
            shutil.copyfileobj(content_body, file)

    def remove(self, artifact_id: str) -> None:
        """The artifact is gone. Raises: ArtifactNotFound."""
        self._path(artifact_id).unlink()

    def _path(self, artifact_id: str) -> Path:
        name = _checked(artifact_id)
        for path in (self._home / ARTIFACTS / name, *self._home.glob(f"*/{ARTIFACTS}/{name}")):
            if path.is_file():
                return path
        raise ArtifactNotFound(f"There is no artifact {artifact_id} in the folders of the studies.")


def attach(study: Study, name: str, content: bytes, trial: FrozenTrial | None = None) -> None:
    """The study, or the trial, has an artifact of that name and content; one that it had of that name is replaced."""
    known = _id(study, name, trial)
    write_in_place(study.folder / ARTIFACTS / known, content)
    kind = KINDS.get(Path(name).suffix) or mimetypes.guess_type(name)[0] or "application/octet-stream"
    about = json.dumps({"artifact_id": known, "filename": name, "mimetype": kind, "encoding": None})
    key = _key(study, name, trial)
    if study.storage.get_study_system_attrs(study.id).get(key) != about:
        study.storage.set_study_system_attr(study.id, key, about)


def is_attached(study: Study, name: str, trial: FrozenTrial | None = None) -> bool:
    """Whether it has an artifact of that name, and the file is there."""
    path = study.folder / ARTIFACTS / _id(study, name, trial)
    return bool(study.storage.get_study_system_attrs(study.id).get(_key(study, name, trial))) and path.is_file()


def _id(study: Study, name: str, trial: FrozenTrial | None) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"{study.name}/{f'trial {trial.number}' if trial else 'study'}/{name}"))


def _key(study: Study, name: str, trial: FrozenTrial | None) -> str:
    # A trial that has ended takes no attribute any more; the dashboard looks for its artifacts among the study's as
    # well.
    return (
        f"dashboard:artifacts:{trial._trial_id}:{_id(study, name, trial)}"
        if trial
        else f"artifacts:{_id(study, name, trial)}"
    )


def _checked(artifact_id: str) -> str:
    try:
        return str(uuid.UUID(artifact_id))
    except ValueError:
        raise ArtifactNotFound(f"An artifact's id must be a UUID, got {artifact_id!r}.") from None
