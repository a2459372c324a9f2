"""A model is scored on test images: which study it is of, and where that opening of them is recorded."""

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
from search.export.model_card import METRICS
from search.job.final import evaluate, is_test_of
from search.storage.opening import open_storage
from search.study.environment import now
from search.study.ownership import OWNER, identity_of, read_owner
from search.study.records import Identity
from search.study.study import Study, load_study, storage_names

OPENINGS = "openings"  # in metrics.json: those that no study knows of


@dataclass(frozen=True)
class MadeBy:
    """The study that made a model, as far as the model says and it can be found here."""

    identity: Identity | None
    study: Study | None


def study_of(model: Path, checkpoint: Checkpoint, storage: str) -> MadeBy:
    """Of the model in that folder, looked for in `storage`, and in the one that the study's folder names, where the
    model lies in it.
    """
    owner = _owner(model)
    identity: Identity | None
    try:
        identity = Identity.model_validate(checkpoint.origin["study"])
    except (KeyError, ValidationError):
        identity = owner
    if identity is None:
        return MadeBy(None, None)
    places = dict.fromkeys([storage, *([owner.storage] if owner and owner.storage else [])])
    return MadeBy(identity, next((study for url in places if (study := _found(identity, url)) is not None), None))


def evaluate_model(
    model: Path,
    checkpoint: Checkpoint,
    source: Source,
    made_by: MadeBy,
    named: Study | None,
    device: torch.device,
    announce: Callable[[str], None],
) -> tuple[Scores, tuple[float, float], list[str]]:
    """The model's scores with their interval, and what is to be said of the opening.

    It is recorded in the study that made the model and in the one that was named, where these are its test images. One
    whose study is not here is noted in the model's own metrics.
    Raises: SearchError where the data have other classes, or a study takes no record; then nothing was scored.
    """
    studies = [study for study in (made_by.study, named) if study is not None]
    if len({_key(study) for study in studies}) < len(studies):
        studies = studies[:1]
    for study in studies:
        own = study.storage
        own.patience.announce = announce
    try:
        scores, interval = evaluate(checkpoint, source, studies, device)
    except StorageLostError as error:
        raise SearchError(
            f"An opening is recorded before an image is scored; it could not be, and nothing was scored. {error}"
        ) from None
    notes = [_told(study, source) for study in studies]
    if made_by.study is None:
        notes += _without_study(model, source, made_by.identity, is_named=named is not None)
    return scores, interval, notes


def _owner(model: Path) -> Identity | None:
    """The study in whose folder the model lies, as export or final/seed-N; None where it lies elsewhere."""
    folder = model.resolve().parent
    try:
        return read_owner((folder.parent if folder.name == "final" else folder) / OWNER)
    except SearchError:  # another program's file of that name
        return None


def _found(identity: Identity, url: str) -> Study | None:
    try:
        storage = open_storage(url, create=False)
        study = load_study(storage, identity.study) if identity.study in storage_names(storage) else None
    except SearchError:  # not there, or not to be opened: what it means for the record is said
        return None
    return study if study is not None and identity.id is not None and identity.id == identity_of(study).id else None


def _key(study: Study) -> tuple[str | None, str]:
    identity = identity_of(study)
    return identity.id, identity.study


def _told(study: Study, source: Source) -> str:
    if is_test_of(study, source):
        return f"Recorded as an opening of the test split in the study {study.name!r}."
    return f"These are not the test images of the study {study.name!r}: no opening is recorded."


def _without_study(model: Path, source: Source, identity: Identity | None, *, is_named: bool) -> list[str]:
    """What is said of a model whose study is not at hand."""
    if identity is None:
        return (
            []
            if is_named
            else ["The model does not say which study made it, so no opening is recorded; --study names it."]
        )
    about = f"The study {identity.study!r}, which made the model, is not here"
    if identity.test_fingerprint not in (None, test_fingerprint(source)):
        return [f"{about}; these are not its test images."]
    step = f"{about}, so it does not know of this opening of its test images; --storage names where it is."
    return [step, _noted(model / METRICS, source)]


def _noted(path: Path, source: Source) -> str:
    entry = {"at": now(), "by": "evaluate", "data": source.name, "test_fingerprint": test_fingerprint(source)}
    try:
        with _alone_in(path.parent):
            metrics: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            known = metrics.setdefault(OPENINGS, [])
            known.append(entry)
            write_in_place(path, (json.dumps(metrics, indent=2, allow_nan=False) + "\n").encode())
    except (OSError, ValueError, AttributeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no metrics.json of an export"
        return f"The opening is noted nowhere: {path} cannot be written ({reason})."
    return f"It is noted in {path}: opening {len(known)} that the study does not know of."


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Within, no other process of this user is in such a block of that folder; the folder itself gets no lock file."""
    lock = cache_folder() / "locks" / f"{digest(str(folder.resolve()))}.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(lock):
        yield
