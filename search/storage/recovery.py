"""Replay the journal of an earlier run to the database that it belongs to."""

import secrets
from functools import partial
from pathlib import Path

from search.errors import SearchError
from search.storage.journal import JournalContent, read_journal
from search.storage.operations import perform, trial_of
from search.storage.optuna_private import study_id, trial_id
from search.storage.own_trials import OwnTrials
from search.terminal.wording import counted

IDENTITY = "fmnist-search:journal"  # a study's system attribute: a random text, unique to this study in this database


def identity(storage: OwnTrials, study: int) -> str:
    """Return the study's token, drawing it if needed; a study that is created again under its name has another one."""
    token = storage.get_study_system_attrs(study).get(IDENTITY)
    if token is None:
        token = secrets.token_hex(16)
        storage.set_study_system_attr(study, IDENTITY, token)
    return str(token)


def take_up(path: Path, study: str, storage: OwnTrials) -> None:
    """Write the operations of the journal at `path` to the database, and delete the file.

    Raises: SearchError if it belongs to another database. StorageLostError; then the journal is unchanged.
    """
    content = read_journal(path)
    if content is not None and content.operations:
        _require_same_database(content, path, study, storage)
        for operation in content.operations:
            # If killed in the middle, the next run starts over, which is safe because operations are idempotent.
            storage.patiently(partial(perform, operation, storage.backend))
    path.unlink(missing_ok=True)


def _require_same_database(content: JournalContent, path: Path, study: str, storage: OwnTrials) -> None:
    ids = {stored.study_name: study_id(stored) for stored in storage.get_all_studies()}
    token = storage.get_study_system_attrs(ids[study]).get(IDENTITY) if study in ids else None
    if content.study == study and content.identity == token:
        trials = {trial_id(trial) for trial in storage.get_all_trials(ids[study], deepcopy=False)}
        if {trial for operation in content.operations if (trial := trial_of(operation)) is not None} <= trials:
            return
    database = "an older copy of their database" if content.identity == token else "another database"
    raise SearchError(
        f"{counted(len(content.operations), 'result')} of the study {content.study!r} in {path} cannot be written: "
        f"--storage names {database}. Name the storage that the study was run with, or delete the file to give them up."
    )
