"""A journal that an earlier run left is written to the database that it belongs to."""

import secrets
from functools import partial
from pathlib import Path

from search.errors import SearchError
from search.storage.journal import Kept, read_journal
from search.storage.operations import perform, trial_of
from search.storage.optuna_private import study_id, trial_id
from search.storage.own_trials import OwnTrials
from search.terminal.wording import counted

IDENTITY = "fmnist-search:journal"  # a study's system attribute: a random text, so that no other database has it


def identity(storage: OwnTrials, study: int) -> str:
    """What tells this study in this database from one that was made anew under its name."""
    known = storage.get_study_system_attrs(study).get(IDENTITY)
    if known is None:
        known = secrets.token_hex(16)
        storage.set_study_system_attr(study, IDENTITY, known)
    return str(known)


def take_up(path: Path, study: str, storage: OwnTrials) -> None:
    """What the journal at `path` holds is in the database, and the file is gone.

    Raises: SearchError where it belongs to another database. StorageLostError, and then the journal is as it was.
    """
    kept = read_journal(path)
    if kept is not None and kept.operations:
        _require_same_database(kept, path, study, storage)
        for operation in kept.operations:
            # Killed in the middle, this begins anew: each write is the same if it is done twice.
            storage.patiently(partial(perform, operation, storage.backend))
    path.unlink(missing_ok=True)


def _require_same_database(kept: Kept, path: Path, study: str, storage: OwnTrials) -> None:
    ids = {each.study_name: study_id(each) for each in storage.get_all_studies()}
    found = storage.get_study_system_attrs(ids[study]).get(IDENTITY) if study in ids else None
    if kept.study == study and kept.identity == found:
        trials = {trial_id(trial) for trial in storage.get_all_trials(ids[study], deepcopy=False)}
        if {trial for operation in kept.operations if (trial := trial_of(operation)) is not None} <= trials:
            return
    what = "an older copy of the database" if found is not None and kept.identity == found else "another database"
    raise SearchError(
        f"{counted(len(kept.operations), 'result')} of the study {kept.study!r} in {path} cannot be written: --storage "
        f"names {what} "
        "than they are of. Name the storage that the study was run with, or delete the file to give them up."
    )
