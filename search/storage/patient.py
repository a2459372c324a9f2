"""Optuna's storage for a database that may be unavailable for a while: it retries, and then gives the database up.

What was not written is computed again by the next run, from the trainings' last snapshots, as after a kill.
"""

import secrets
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from optuna.storages import RDBStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial
from sqlalchemy import Engine
from sqlalchemy.exc import IntegrityError

from search.errors import StorageLostError, StudyDeletedError
from search.storage.foreign import SPEC, is_foreign, set_aside
from search.storage.optuna_private import CachedStorage, FrozenStudy
from search.storage.patience import Patience, StorageAwayError
from search.storage.rescue import HeldFile
from search.storage.rows import append_entry, rename_study
from search.storage.sharing import Share, is_missing_row, locked

T = TypeVar("T")
DELETED = (
    "The study was deleted by another program while it was in use. Run the same command to start it from the beginning."
)


class PatientStorage(CachedStorage):
    """Retries when the database does not answer. Once it is lost, every call raises StorageLostError."""

    def __init__(self, backend: RDBStorage) -> None:
        super().__init__(backend)
        self.patience = Patience()
        self.share: Share | None = None  # if other runs have trials of the same study
        self._file: HeldFile | None = None  # restored if it is deleted
        self._loss: str | None = None  # why the database was given up

    @property
    def backend(self) -> RDBStorage:
        """Optuna's storage, without memory and retries."""
        return self._backend

    @property
    def engine(self) -> Engine:
        """The connections to the database."""
        return self._backend.engine

    def create_new_study(self, directions: Sequence[StudyDirection], study_name: str | None = None) -> int:
        """Create the study and return its id."""
        # If a failed attempt created it after all, this raises DuplicatedStudyError, which `load_if_exists` handles.
        return self._ask(super().create_new_study, directions, study_name)

    def delete_study(self, study_id: int) -> None:
        """Delete the study and its trials, in one transaction. Raises: StorageLostError. StudyDeletedError."""

        def again() -> None:
            with suppress(KeyError):  # the failed attempt deleted it after all
                delete(study_id)

        delete = super().delete_study
        self._ask(delete, study_id, again=again)

    def rename_study(
        self,
        study_id: int,
        name: str,
        user_attributes: Mapping[tuple[int, str], Any],
        system_attributes: Mapping[str, Any],
    ) -> None:
        """Give the study another name, and put the attributes of `rows.rename_study`, in one transaction."""
        self._ask(rename_study, self._backend, study_id, name, user_attributes, system_attributes)
        if study_id in self._studies:
            self._studies[study_id].name = name

    def set_study_user_attr(self, study_id: int, key: str, value: Any) -> None:
        """Write the attribute."""
        self._ask(super().set_study_user_attr, study_id, key, value)

    def append_study_user_attr(self, study_id: int, key: str, entry: dict[str, Any]) -> None:
        """Append the entry to the list under `key` exactly once; safe with concurrent processes."""
        self._ask(append_entry, self._backend, study_id, key, {**entry, "id": secrets.token_hex(8)})

    def set_study_system_attr(self, study_id: int, key: str, value: Any) -> None:
        """Write the attribute."""
        self._ask(super().set_study_system_attr, study_id, key, value)

    def get_study_user_attrs(self, study_id: int) -> dict[str, Any]:
        """Return the study's user attributes."""
        return self._ask(super().get_study_user_attrs, study_id)

    def get_study_system_attrs(self, study_id: int) -> dict[str, Any]:
        """Return the study's system attributes."""
        return self._ask(super().get_study_system_attrs, study_id)

    def get_study_id_from_name(self, study_name: str) -> int:
        """Return the study's id."""
        return self._ask(super().get_study_id_from_name, study_name)

    def get_study_name_from_id(self, study_id: int) -> str:
        """Return the study's name."""
        return self._ask(super().get_study_name_from_id, study_id)

    def get_study_directions(self, study_id: int) -> list[StudyDirection]:
        """Return the study's directions."""
        return self._ask(super().get_study_directions, study_id)

    def get_all_studies(self) -> list[FrozenStudy]:
        """Return all studies."""
        return self._ask(super().get_all_studies)

    def database_file(self) -> Path | None:
        """Return the SQLite file, however its URL names it; None if it is in memory or on a server.

        Raises: StorageLostError.
        """
        return self._ask(_database_file, self.engine) if self.engine.name == "sqlite" else None

    @contextmanager
    def locked(self, name: str) -> Iterator[None]:
        """Exclude other runs on the server from blocks of that name. Raises: StorageLostError.

        The lock is not reentrant: a nested block of the same name waits for itself.
        """
        with ExitStack() as stack:
            self._ask(lambda: stack.enter_context(locked(self.engine, name)))
            yield

    @contextmanager
    def guarded(self) -> Iterator[None]:
        """Restore a SQLite file that is deleted during the block; one that is replaced by another file is lost."""
        path = self.database_file()
        try:
            self._file = HeldFile(path) if path else None
        except (OSError, sqlite3.Error) as error:
            self.patience.announce(
                f"{path} cannot be held open ({error}): if it is deleted during the run, the study is lost."
            )
        try:
            yield
        finally:
            try:
                self._check_file()
            finally:
                if self._file is not None:
                    self._file.close()
                    self._file = None

    def _check_file(self) -> None:
        if self._file is None or self._loss or (state := self._file.state) == "there":
            return
        path = self._file.path
        self.engine.dispose()  # closes the connections to the deleted file
        try:
            if state == "replaced":
                saved = self._file.save_beside()
                self._lose(f"{path} was replaced by another file while it was in use; its content is saved in {saved}")
            self._file.restore()
        except (OSError, sqlite3.Error) as error:
            self._lose(f"{path} was {state} while it was in use, and its content cannot be written: {error}")
        self.patience.announce(f"{path} was deleted while it was in use. It has been restored; nothing is lost.")

    def _ask(self, ask: Callable[..., T], *arguments: Any, again: Callable[[], T] | None = None) -> T:
        """Return the result of `ask` on the database, or after a failure of `again`, which is retried.

        `again` defaults to `ask`: then it must be idempotent, because a failed attempt may have taken effect.

        Raises: StorageLostError. StudyDeletedError.
        """
        self._check_file()
        if self._loss:
            self._lose(self._loss)
        first = partial(ask, *arguments)
        try:
            # A connection opened while the file was read-only, or before the server failed, cannot be used again.
            return self.patience.attempt(first, again or first, self.engine.dispose)
        except StorageAwayError as error:
            self._lose(str(error))
        except (KeyError, IntegrityError) as error:
            if is_missing_row(error):
                raise StudyDeletedError(DELETED) from error
            raise

    def _lose(self, loss: str) -> NoReturn:
        self._loss = loss
        raise StorageLostError(f"The storage was lost: {loss}. When it is back, run the same command to resume.")

    def _add_trials_to_cache(self, study_id: int, trials: list[FrozenTrial]) -> None:
        if any(map(is_foreign, trials)) and SPEC in self._backend.get_study_user_attrs(study_id):
            trials = [set_aside(trial) if is_foreign(trial) else trial for trial in trials]
        super()._add_trials_to_cache(study_id, trials)


def _database_file(engine: Engine) -> Path | None:
    with closing(engine.raw_connection()) as connection:
        files = {name: file for _, name, file in connection.cursor().execute("PRAGMA database_list")}
    return Path(files["main"]).resolve() if files["main"] else None
