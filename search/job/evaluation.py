"""Score a model on test images, and record the opening in the study that made the model."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import filelock
import torch
from pydantic import ValidationError

from fmnist.atomic import write_in_place
from fmnist.checkpoint import Checkpoint
from fmnist.data.cache import cache_folder, digest
from fmnist.data.sources import Source
from fmnist.data.splits import test_fingerprint
from fmnist.metrics import Scores
from search.errors import SearchError, StorageLostError
from search.job.final import evaluate, is_test_of
from search.job.teachers import FOLDER as TEACHERS
from search.storage.opening import open_storage
from search.study.environment import now
from search.study.front import POINTS
from search.study.ownership import OWNER, identity_of, name_of, read_owner
from search.study.paths import METRICS
from search.study.records import Identity
from search.study.study import Study, load_study

OPENINGS = "openings"  # in metrics.json: openings that no study has recorded


@dataclass(frozen=True)
class MadeBy:
    """The study that made a model, as named by the model, and the study itself if it is available."""

    identity: Identity | None
    study: Study | None


def study_of(model: Path, checkpoint: Checkpoint, storage: str) -> MadeBy:
    """Return the study that made the model, searching `storage` and the storage that the study's folder names."""
    owner = _owner(model)
    identity: Identity | None
    try:
        identity = Identity.model_validate(checkpoint.origin["study"])
    except (KeyError, ValidationError):
        identity = owner
    if identity is None:
        return MadeBy(None, None)
    urls = dict.fromkeys([storage, *([owner.storage] if owner and owner.storage else [])])
    return MadeBy(identity, next((study for url in urls if (study := _find_study(identity, url)) is not None), None))


def evaluate_model(
    model: Path,
    checkpoint: Checkpoint,
    source: Source,
    made_by: MadeBy,
    named: Study | None,
    device: torch.device,
    announce: Callable[[str], None],
) -> tuple[Scores, tuple[float, float], list[str]]:
    """Return the model's scores with their interval, and notes on the recorded opening.

    The opening is recorded in the study that made the model and in the named one, if these are its test images. If the
    former is not available, the opening is noted in the model's metrics.

    Raises: SearchError if the data have other classes, or a study cannot be written; then nothing was scored.
    """
    studies = [study for study in (made_by.study, named) if study is not None]
    if len({_key(study) for study in studies}) < len(studies):
        studies = studies[:1]
    for study in studies:
        storage = study.storage
        storage.patience.announce = announce
    try:
        scores, interval = evaluate(checkpoint, source, studies, device)
    except StorageLostError as error:
        raise SearchError(
            f"The opening of the test split must be recorded first; it could not be, and nothing was scored. {error}"
        ) from None
    notes = [_opening_note(study, source) for study in studies]
    if made_by.study is None:
        notes += _notes_without_study(model, source, made_by.identity, is_named=named is not None)
    return scores, interval, notes


def _owner(model: Path) -> Identity | None:
    """Return the study whose folder, or that of a point in it, holds the model, or None.

    The model is there as export, final/seed-N or final/teachers/seed-N.
    """
    folder = model.resolve().parent
    folder = folder.parent if folder.name == TEACHERS else folder
    folder = folder.parent if folder.name == "final" else folder
    try:
        return read_owner((folder.parents[1] if folder.parent.name == POINTS else folder) / OWNER)
    except SearchError:  # another program's file of the same name
        return None


def _find_study(identity: Identity, url: str) -> Study | None:
    try:
        storage = open_storage(url, create=False)
        name = name_of(storage, identity)
        return None if name is None else load_study(storage, name)
    except SearchError:  # missing, or cannot be opened; the notes tell that the opening is not recorded
        return None


def _key(study: Study) -> tuple[str | None, str]:
    identity = identity_of(study)
    return identity.id, identity.study


def _opening_note(study: Study, source: Source) -> str:
    if is_test_of(study, source):
        return f"Recorded as an opening of the test split in the study {study.name!r}."
    return f"These are not the test images of the study {study.name!r}: no opening is recorded."


def _notes_without_study(model: Path, source: Source, identity: Identity | None, *, is_named: bool) -> list[str]:
    """Return the notes on a model whose study is not available, and note the opening in its metrics."""
    if identity is None:
        return (
            []
            if is_named
            else ["The model does not name its study, so no opening is recorded. Name the study with --study."]
        )
    subject = f"The study {identity.study!r}, which made the model, is not in the storage"
    if identity.test_fingerprint not in (None, test_fingerprint(source)):
        return [f"{subject}; these are not its test images."]
    note = f"{subject}, so it has no record of this opening of its test images. Name its storage with --storage."
    return [note, _note_in_metrics(model / METRICS, source)]


def _note_in_metrics(path: Path, source: Source) -> str:
    entry = {"at": now(), "by": "evaluate", "data": source.name, "test_fingerprint": test_fingerprint(source)}
    try:
        with _alone_in(path.parent):
            metrics: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            openings = metrics.setdefault(OPENINGS, [])
            openings.append(entry)
            write_in_place(path, (json.dumps(metrics, indent=2, allow_nan=False) + "\n").encode())
    except (OSError, ValueError, AttributeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not the metrics.json of an export"
        return f"The opening could not be noted: {path} cannot be written ({reason})."
    return f"It is noted in {path}: opening {len(openings)} without a record in the study."


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Exclude other processes of this user from such blocks of the folder, without a lock file in it."""
    lock = cache_folder() / "locks" / f"{digest(str(folder.resolve()))}.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(lock):
        yield
