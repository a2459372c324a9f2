"""A study's folder belongs to one study in one database; a token stored in both identifies them, also in copies."""

import re
import secrets
import socket
from pathlib import Path

from pydantic import ValidationError
from sqlalchemy import URL

from fmnist.atomic import write_in_place
from search.errors import SearchError
from search.storage.foreign import SPEC
from search.storage.masking import masked
from search.storage.opening import open_storage, storage_url
from search.storage.own_trials import OwnTrials
from search.study.records import DataRecord, Identity
from search.study.spec import NAME
from search.study.study import Study, storage_names

OWNER = "study.json"  # in the study's folder
RENAMED = "fmnist-search:renamed"  # the system attribute with the old name, until the folder has the new one
TOKEN = "fmnist-search:token"  # the system attribute of a random text, unique to this study in this database


def identity_of(study: Study) -> Identity:
    """Return the identity of the study; parts that it has none of are None."""
    storage = study.storage
    data = study.read(DataRecord)
    token = storage.get_study_system_attrs(study.id).get(TOKEN)
    return Identity(
        study=study.name,
        id=token,
        test_fingerprint=data.test_fingerprint if data else None,
        storage=_place(storage.engine.url),
        host=socket.gethostname(),
    )


def claim_folder(study: Study) -> None:
    """Write the study's identity to its folder. Files that a deleted study left there appear in no record.

    Raises: SearchError if the folder belongs to another study. StorageLostError.
    """
    with study.locked():  # so that only one of two runs that start together draws the token
        _draw_token(study)
    require_own_folder(study)
    write_owner(study)


def write_owner(study: Study) -> None:
    """Write the study's identity to its folder, unless it is there.

    Raises: SearchError if it cannot be written.
    """
    owner = identity_of(study)
    if owner == read_owner(path := study.folder / OWNER):
        return
    try:
        write_in_place(path, (owner.model_dump_json(indent=2) + "\n").encode())
    except OSError as error:
        raise SearchError(
            f"{path} must be writable: {error.strerror or error}. Free space there, or run in another folder."
        ) from None


def _draw_token(study: Study) -> None:
    # A study that is created again under its name has another one.
    if TOKEN not in study.storage.get_study_system_attrs(study.id):
        study.storage.set_study_system_attr(study.id, TOKEN, secrets.token_hex(16))


def require_own_folder(study: Study) -> None:
    """Require that the study's folder belongs to no other study, and that it has the study's name.

    Raises: SearchError with both studies, or if the study is still being renamed.
    """
    require_renamed(study.storage, study.name)
    own = identity_of(study)
    assert own.storage, "the study was read from there"
    _require(study.folder, own.storage, own.id)


def is_ours(study: Study) -> bool:
    """Whether the study was made by fmnist-search, which alone has a folder and is locked by its runs."""
    # The name of a copy that another program made may lead out of the folder of studies.
    return SPEC in study.attributes and re.fullmatch(NAME, study.name) is not None


def folder_of(study: Study) -> Path | None:
    """Return the study's folder; None if it is not here, or the study is another program's, which has none.

    Raises: SearchError if a folder of its name belongs to another study.
    """
    if not is_ours(study) or not study.folder.is_dir():
        return None
    require_own_folder(study)
    return study.folder


def require_renamed(storage: OwnTrials, name: str) -> None:
    """Require that no study is on the way from or to that name: its folder may still have the old one.

    Raises: SearchError with the command that ends it.
    """
    for study in storage.get_all_studies():
        before, now = study.system_attrs.get(RENAMED), study.study_name
        if before and name in (before, now):
            raise SearchError(
                f"The study {now!r} is still being renamed from {before!r}. Finish that first: fmnist-search rename "
                f"{before} {now}, with the same --storage."
            )


def name_of(storage: OwnTrials, identity: Identity) -> str | None:
    """Return the name that the study of a model or folder has in the storage by now; None if it is not there."""
    names = [
        study.study_name
        for study in storage.get_all_studies()
        if identity.id is not None and study.system_attrs.get(TOKEN) == identity.id
    ]
    return identity.study if identity.study in names else next(iter(names), None)


def left_folder(storage: OwnTrials, name: str, home: Path) -> Path | None:
    """Return the folder of a study of that name that was deleted from the storage; None if there is none.

    Raises: SearchError if its owner cannot be read.
    """
    if not re.fullmatch(NAME, name) or (owner := read_owner(home / name / OWNER)) is None:
        return None
    is_left = _is_same_place(owner, _place(storage.engine.url)) and name_of(storage, owner) is None
    return home / name if is_left else None


def require_no_others_folder(url: str, folder: Path) -> None:
    """Require that the folder belongs to the study of its name at `url`, which may not exist yet; writes nothing.

    Raises: SearchError with both studies.
    """
    owner, parsed_url = read_owner(folder / OWNER), storage_url(url)
    place = _place(parsed_url)
    if owner is None or _is_same_place(owner, place):
        return
    exists = parsed_url.get_backend_name() != "sqlite" or Path(parsed_url.database or "").exists()
    _require(folder, place, _token(open_storage(url, create=False), folder.name) if exists else None)


def read_owner(path: Path) -> Identity | None:
    """Return the owner of a folder from the file at `path`, or None if there is no such file.

    Raises: SearchError if it cannot be read.
    """
    try:
        return Identity.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is damaged"
        raise SearchError(
            f"{path} must name the study of this folder; it cannot be read: {reason}. Delete the file if the folder "
            "belongs to the study of its name."
        ) from None


def _require(folder: Path, place: str, token: str | None) -> None:
    owner = read_owner(folder / OWNER)
    # In the same place, another token means that the folder's study was deleted and created again.
    if owner is None or owner.id == token or _is_same_place(owner, place):
        return
    host = socket.gethostname()
    there, here = (f" on {name}" if owner.host not in (None, host) else "" for name in (owner.host, host))
    raise SearchError(
        f"The folder {folder} belongs to the study {folder.name!r} in {owner.storage}{there}, not to that in "
        f"{place}{here}. Run the command in another folder, or give the study another name. If that study was deleted, "
        "delete the folder."
    )


def _place(url: URL) -> str:
    if url.get_backend_name() == "sqlite" and url.database:
        url = url.set(database=str(Path(url.database).resolve()))
    return masked(url.render_as_string(hide_password=True))


def _is_same_place(owner: Identity, place: str) -> bool:
    # On another machine the same path or server name may mean another database.
    return owner.storage == place and owner.host in (None, socket.gethostname())


def _token(storage: OwnTrials, name: str) -> str | None:
    if name not in storage_names(storage):
        return None
    token = storage.get_study_system_attrs(storage.get_study_id_from_name(name)).get(TOKEN)
    return None if token is None else str(token)
