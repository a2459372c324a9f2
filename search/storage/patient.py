"""Optuna's storage for a database that may be unavailable: it retries, and keeps failed writes in the journal."""

import json
import secrets
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any, NoReturn, TypeVar

from optuna.storages import RDBStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial
from sqlalchemy.exc import IntegrityError

from search.errors import StudyDeletedError
from search.storage.foreign import SPEC, is_foreign, set_aside
from search.storage.journal import Operation
from search.storage.opening import database_file
from search.storage.operations import perform
from search.storage.optuna_private import CachedStorage, FrozenStudy
from search.storage.overflow import Overflow
from search.storage.patience import Patience, StorageAwayError
from search.storage.rescue import HeldFile
from search.storage.sharing import Share, held, is_missing_row

T = TypeVar("T")
DELETED = (
    "The study was deleted by another program while it was in use. Run the same command to start it from the beginning."
)


class PatientStorage(CachedStorage):
    """Retries when the database does not answer. Once it is lost, writes go to the journal, and reads use memory."""

    def __init__(self, backend: RDBStorage, patience: Patience | None = None) -> None:
        super().__init__(backend)
        self.patience = patience or Patience()
        self.overflow = Overflow()
        self.share: Share | None = None  # if other runs have trials of the same study
        self._ids: dict[str, int] = {}  # by name
        self._file: HeldFile | None = None  # restored if it is deleted
        self._attributes: dict[tuple[str, int], dict[str, Any]] = {}  # ("user" or "system", study) -> last known ones

    @property
    def backend(self) -> RDBStorage:
        """Optuna's storage, without memory and retries."""
        return self._backend

    @property
    def is_lost(self) -> bool:
        """Whether the database was given up; this process does not use it any more."""
        return self.overflow.loss is not None

    def create_new_study(self, directions: Sequence[StudyDirection], study_name: str | None = None) -> int:
        """Create the study and return its id."""
        # If a failed attempt created it after all, this raises DuplicatedStudyError, which `load_if_exists` handles.
        return self._ask(super().create_new_study, directions, study_name, lost=self._raise_lost)

    def set_study_user_attr(self, study_id: int, key: str, value: Any) -> None:
        """Write the attribute."""
        arguments = (study_id, key, value)
        self._deliver(
            partial(super().set_study_user_attr, *arguments), lambda: [Operation("set_study_user_attr", arguments)]
        )
        self._attributes.setdefault(("user", study_id), {})[key] = _as_stored(value)

    def append_study_user_attr(self, study_id: int, key: str, entry: dict[str, Any]) -> None:
        """Append the entry to the list under `key` exactly once; safe with concurrent processes."""
        operation = Operation("append_study_user_attr", (study_id, key, {**entry, "id": secrets.token_hex(8)}))
        self._deliver(partial(perform, operation, self._backend), lambda: [operation])
        attributes = self._attributes.setdefault(("user", study_id), {})
        attributes[key] = [*attributes.get(key, []), _as_stored(operation.arguments[2])]

    def set_study_system_attr(self, study_id: int, key: str, value: Any) -> None:
        """Write the attribute."""
        arguments = (study_id, key, value)
        self._deliver(
            partial(super().set_study_system_attr, *arguments), lambda: [Operation("set_study_system_attr", arguments)]
        )
        self._attributes.setdefault(("system", study_id), {})[key] = _as_stored(value)

    def get_study_user_attrs(self, study_id: int) -> dict[str, Any]:
        """Return the study's user attributes, from memory if the database is lost."""
        return self._study_attributes("user", study_id, super().get_study_user_attrs)

    def get_study_system_attrs(self, study_id: int) -> dict[str, Any]:
        """Return the study's system attributes, from memory if the database is lost."""
        return self._study_attributes("system", study_id, super().get_study_system_attrs)

    def get_study_id_from_name(self, study_name: str) -> int:
        """Return the study's id. Raises: StorageLostError if it was never read."""
        # Optuna's Hyperband asks at every verdict.
        if study_name not in self._ids:
            read = super().get_study_id_from_name
            self._ids[study_name] = self._ask(read, study_name, lost=self._raise_lost)
        return self._ids[study_name]

    def get_study_name_from_id(self, study_id: int) -> str:
        """Return the study's name. Raises: StorageLostError if it was never read."""
        read = partial(super().get_study_name_from_id, study_id)
        return self._ask(read, lost=read)

    def get_study_directions(self, study_id: int) -> list[StudyDirection]:
        """Return the study's directions. Raises: StorageLostError if they were never read."""
        read = partial(super().get_study_directions, study_id)
        return self._ask(read, lost=read)

    def get_all_studies(self) -> list[FrozenStudy]:
        """Return all studies. Raises: StorageLostError."""
        return self._ask(super().get_all_studies, lost=self._raise_lost)

    def patiently(self, work: Callable[[], T]) -> T:
        """Return the result of the idempotent `work` on the database, with retries. Raises: StorageLostError."""
        return self._ask(work, lost=self._raise_lost)

    @contextmanager
    def held(self, name: str) -> Iterator[None]:
        """Exclude other runs on the server from blocks of that name; without a lock if the database is lost.

        The lock is not reentrant: a nested block of the same name waits for itself.
        """
        with ExitStack() as stack:
            self._ask(lambda: stack.enter_context(held(self._backend.engine, name)), lost=lambda: None)
            yield

    @contextmanager
    def guarded(self) -> Iterator[None]:
        """Restore a SQLite file that is deleted during the block; one that is replaced by another file is lost."""
        path = self._ask(partial(database_file, self._backend), lost=lambda: None)
        try:
            self._file = HeldFile(path) if path else None
        except (OSError, sqlite3.Error) as error:
            self.patience.announce(
                f"{path} cannot be held open ({error}): if it is deleted during the run, the study is lost."
            )
        try:
            yield
        finally:
            self._check_file()
            if self._file is not None:
                self._file.close()
                self._file = None

    def _check_file(self) -> None:
        if self._file is None or self.is_lost or (state := self._file.state) == "there":
            return
        path = self._file.path
        self._backend.engine.dispose()  # closes the connections to the deleted file
        try:
            if state == "replaced":
                saved = self._file.save_beside()
                self.overflow.loss = (
                    f"{path} was replaced by another file while it was in use; its content is saved in {saved}"
                )
                return
            self._file.restore()
        except (OSError, sqlite3.Error) as error:
            self.overflow.loss = f"{path} was {state} while it was in use, and its content cannot be written: {error}"
        else:
            self.patience.announce(f"{path} was deleted while it was in use. It has been restored; nothing is lost.")

    def _ask(
        self, ask: Callable[..., T], *arguments: Any, lost: Callable[[], T], again: Callable[[], T] | None = None
    ) -> T:
        """Return the result of `ask` on the database, with retries, or of `lost` if the database is lost."""
        self._check_file()
        if not self.is_lost:
            first = partial(ask, *arguments)
            try:
                return self._attempt(first, again or first, self._backend.engine.dispose)
            except StorageAwayError as error:
                self.overflow.loss = str(error)
        return lost()

    def _deliver(self, write: Callable[[], object], as_operations: Callable[[], list[Operation]]) -> bool:
        """Write to the database, or to the journal; return False if `write` does.

        Raises: StorageLostError if both fail.
        """
        operations: list[Operation] = []

        def again() -> bool:  # the failed attempt may have taken effect after all, fully or in part
            for operation in operations:
                perform(operation, self._backend)
            return True

        def failed() -> None:
            # A connection opened while the file was read-only, or before the server failed, cannot be used again.
            self._backend.engine.dispose()
            if not operations:  # in the journal at once, so that killing the process while it waits loses nothing
                operations.extend(as_operations())
                self.overflow.keep(operations)

        self._check_file()
        if self.is_lost:
            self.overflow.keep(as_operations())
        else:
            try:
                result = self._attempt(lambda: write() is not False, again, failed)
            except StorageAwayError as error:
                self.overflow.loss = str(error)
            else:
                if operations:
                    self.overflow.empty()
                return result
        if self.overflow.journal is None:
            self._raise_lost()
        return True

    def _attempt(self, first: Callable[[], T], again: Callable[[], T], failed: Callable[[], None]) -> T:
        try:
            return self.patience.attempt(first, again, failed)
        except (KeyError, IntegrityError) as error:
            if is_missing_row(error):
                raise StudyDeletedError(DELETED) from error
            raise

    def _add_trials_to_cache(self, study_id: int, trials: list[FrozenTrial]) -> None:
        if any(map(is_foreign, trials)) and SPEC in self._backend.get_study_user_attrs(study_id):
            trials = [set_aside(trial) if is_foreign(trial) else trial for trial in trials]
        super()._add_trials_to_cache(study_id, trials)

    def _study_attributes(self, kind: str, study_id: int, read: Callable[[int], dict[str, Any]]) -> dict[str, Any]:
        def remembered() -> dict[str, Any]:
            return self._attributes[kind, study_id] if (kind, study_id) in self._attributes else self._raise_lost()

        self._attributes[kind, study_id] = self._ask(read, study_id, lost=remembered)
        return dict(self._attributes[kind, study_id])

    def _raise_lost(self) -> NoReturn:
        raise self.overflow.error


def _as_stored(value: Any) -> Any:
    return json.loads(json.dumps(value))
