"""Whose a study's folder is: one study's, in one database. A token says so that both have, wherever they are copied
together.
"""

import socket
from pathlib import Path

from optuna.storages import RDBStorage
from pydantic import ValidationError
from sqlalchemy import URL

from fmnist.atomic import write_in_place
from search.errors import SearchError
from search.storage.masking import masked
from search.storage.opening import open_storage, storage_url
from search.storage.own_trials import OwnTrials
from search.storage.recovery import IDENTITY, identity
from search.study.records import DataRecord, Identity
from search.study.study import Study, storage_names

OWNER = "study.json"  # in the study's folder


def identity_of(study: Study) -> Identity:
    """The study's, as far as it has one."""
    own = study.storage
    data = study.read(DataRecord)
    token = own.get_study_system_attrs(study.id).get(IDENTITY)
    return Identity(
        study=study.name,
        id=token,
        test_fingerprint=data.test_fingerprint if data else None,
        storage=_place(own.backend.engine.url),
        host=socket.gethostname(),
    )


def claim_folder(study: Study) -> None:
    """The study's folder is its own, and says so. What it holds of a study that is no more is not the study's: no
    record speaks of it.

    Raises: SearchError where the folder is another study's. StorageLostError.
    """
    own = study.storage
    with study.alone():  # of two runs that begin together, one draws the token
        identity(own, study.id)
    require_own_folder(study)
    this = identity_of(study)
    if this == read_owner(path := study.folder / OWNER):
        return
    try:
        write_in_place(path, (this.model_dump_json(indent=2) + "\n").encode())
    except OSError as error:
        raise SearchError(
            f"{path} must be writable: {error.strerror or error}. Free space there, or run in another folder."
        ) from None


def require_own_folder(study: Study) -> None:
    """The study's folder here is no other study's.

    Raises: SearchError with both.
    """
    this = identity_of(study)
    assert this.storage, "it was read from there"
    _require(study.folder, this.storage, this.id)


def require_no_others_folder(url: str, folder: Path) -> None:
    """The folder is no other study's than that of its name at `url`, which need not be there yet; nothing is written.

    Raises: SearchError with both.
    """
    owner, parsed = read_owner(folder / OWNER), storage_url(url)
    place = _place(parsed)
    if owner is None or _is_same_place(owner, place):
        return
    is_there = parsed.get_backend_name() != "sqlite" or Path(parsed.database or "").exists()
    _require(folder, place, _token(open_storage(url, create=False), folder.name) if is_there else None)


def read_owner(path: Path) -> Identity | None:
    """What the file at `path` says of whose its folder is; None where there is no such file.

    Raises: SearchError where it cannot be read.
    """
    try:
        return Identity.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is damaged"
        raise SearchError(
            f"{path} must say whose the folder is; it cannot be read: {reason}. Delete the file if the folder is the "
            "named study's."
        ) from None


def _require(folder: Path, place: str, token: str | None) -> None:
    owner = read_owner(folder / OWNER)
    # In the same place, a study of that name with another token was begun anew: the folder's own is no more.
    if owner is None or owner.id == token or _is_same_place(owner, place):
        return
    host = socket.gethostname()
    of, this = (f" on {name}" if owner.host not in (None, host) else "" for name in (owner.host, host))
    raise SearchError(
        f"The folder {folder} is of the study {folder.name!r} in {owner.storage}{of}, not of that in {place}{this}. "
        "Give the command "
        "in another folder, or begin a study of another name. If the study in it is no more, delete the folder."
    )


def _place(url: URL) -> str:
    if url.get_backend_name() == "sqlite" and url.database:
        url = url.set(database=str(Path(url.database).resolve()))
    return masked(url.render_as_string(hide_password=True))


def _is_same_place(owner: Identity, place: str) -> bool:
    # A file's path and a server's name may be others on another machine.
    return owner.storage == place and owner.host in (None, socket.gethostname())


def _token(storage: RDBStorage, name: str) -> str | None:
    own = OwnTrials(storage)
    if name not in storage_names(storage):
        return None
    token = own.get_study_system_attrs(own.get_study_id_from_name(name)).get(IDENTITY)
    return None if token is None else str(token)
