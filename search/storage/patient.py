"""Optuna's storage for a database that may be away for a while: it is asked again, and what it does not take waits in
the journal.
"""

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
from search.storage.sharing import Share, held, is_of_what_is_gone

T = TypeVar("T")
DELETED = (
    "The study was deleted by another program while it was in use. Give the same command again: a run begins it anew."
)


class PatientStorage(CachedStorage):
    """Asks a database that does not answer again. Once that was in vain it is lost: writes go to the journal, reads
    come from memory.
    """

    def __init__(self, backend: RDBStorage, patience: Patience | None = None) -> None:
        super().__init__(backend)
        self.patience = patience or Patience()
        self.overflow = Overflow()
        self.share: Share | None = None  # where other runs have trials of the same study
        self._file: HeldFile | None = None  # that is written anew should it be deleted
        self._attributes: dict[
            tuple[str, int], dict[str, Any]
        ] = {}  # "user" or "system", study -> as read or written last

    @property
    def backend(self) -> RDBStorage:
        """Optuna's storage, without this one's memory and patience."""
        return self._backend

    @property
    def is_lost(self) -> bool:
        """Whether the database did not come back in time; it is then left alone for the rest of the process."""
        return self.overflow.loss is not None

    def create_new_study(self, directions: Sequence[StudyDirection], study_name: str | None = None) -> int:
        """The study is in the database."""
        # One that a failed attempt made after all raises DuplicatedStudyError, which `load_if_exists` takes for what it
        # is.
        return self._ask(super().create_new_study, directions, study_name, lost=self._raise_lost)

    def set_study_user_attr(self, study_id: int, key: str, value: Any) -> None:
        """The attribute is in the database."""
        arguments = (study_id, key, value)
        self._deliver(
            partial(super().set_study_user_attr, *arguments), lambda: [Operation("set_study_user_attr", arguments)]
        )
        self._attributes.setdefault(("user", study_id), {})[key] = _as_stored(value)

    def append_study_user_attr(self, study_id: int, key: str, entry: dict[str, Any]) -> None:
        """The entry is at the end of the list under `key`, once, whoever else appends to it at the same time."""
        operation = Operation("append_study_user_attr", (study_id, key, {**entry, "id": secrets.token_hex(8)}))
        self._deliver(partial(perform, operation, self._backend), lambda: [operation])
        known = self._attributes.setdefault(("user", study_id), {})
        known[key] = [*known.get(key, []), _as_stored(operation.arguments[2])]

    def set_study_system_attr(self, study_id: int, key: str, value: Any) -> None:
        """The attribute is in the database."""
        arguments = (study_id, key, value)
        self._deliver(
            partial(super().set_study_system_attr, *arguments), lambda: [Operation("set_study_system_attr", arguments)]
        )
        self._attributes.setdefault(("system", study_id), {})[key] = _as_stored(value)

    def get_study_user_attrs(self, study_id: int) -> dict[str, Any]:
        """The study's attributes, as they were read last where the database is lost."""
        return self._study_attributes("user", study_id, super().get_study_user_attrs)

    def get_study_system_attrs(self, study_id: int) -> dict[str, Any]:
        """The study's attributes, as they were read last where the database is lost."""
        return self._study_attributes("system", study_id, super().get_study_system_attrs)

    def get_study_id_from_name(self, study_name: str) -> int:
        """The study's id. Raises: StorageLostError."""
        return self._ask(super().get_study_id_from_name, study_name, lost=self._raise_lost)

    def get_study_name_from_id(self, study_id: int) -> str:
        """The study's name. Raises: StorageLostError where it was never read."""
        read = partial(super().get_study_name_from_id, study_id)
        return self._ask(read, lost=read)

    def get_study_directions(self, study_id: int) -> list[StudyDirection]:
        """The study's directions. Raises: StorageLostError where they were never read."""
        read = partial(super().get_study_directions, study_id)
        return self._ask(read, lost=read)

    def get_all_studies(self) -> list[FrozenStudy]:
        """All studies. Raises: StorageLostError."""
        return self._ask(super().get_all_studies, lost=self._raise_lost)

    def patiently(self, work: Callable[[], T]) -> T:
        """What `work`, which is the same if it is done twice, returned from the database. Raises: StorageLostError."""
        return self._ask(work, lost=self._raise_lost)

    @contextmanager
    def held(self, name: str) -> Iterator[None]:
        """Within, no other run on the same server is in a block of that name; without a lock where the database is
        lost.

        One such block in another waits for itself.
        """
        with ExitStack() as stack:
            self._ask(lambda: stack.enter_context(held(self._backend.engine, name)), lost=lambda: None)
            yield

    @contextmanager
    def guarded(self) -> Iterator[None]:
        """Within, and at its end, a SQLite file that was deleted is written anew; one that another took the place of is
        lost.
        """
        path = self._ask(partial(database_file, self._backend), lost=lambda: None)
        try:
            self._file = HeldFile(path) if path else None
        except (OSError, sqlite3.Error) as error:
            self.patience.announce(
                f"{path} cannot be held open ({error}): should it be deleted during the run, the study is gone."
            )
        try:
            yield
        finally:
            self._look_after_file()
            if self._file is not None:
                self._file.let_go()
                self._file = None

    def _look_after_file(self) -> None:
        if self._file is None or self.is_lost or (state := self._file.state) == "there":
            return
        path = self._file.path
        self._backend.engine.dispose()  # connections to what has no name any more
        try:
            if state == "replaced":
                saved = self._file.save_beside()
                self.overflow.loss = (
                    f"another file took the place of {path} while it was in use; what was in it is saved in {saved}"
                )
                return
            self._file.write_anew()
        except (OSError, sqlite3.Error) as error:
            self.overflow.loss = (
                f"{path} was {state} while it was in use, and what was in it cannot be written: {error}"
            )
        else:
            self.patience.announce(f"{path} was deleted while it was in use. It is written again; nothing is lost.")

    def _ask(
        self, ask: Callable[..., T], *arguments: Any, lost: Callable[[], T], again: Callable[[], T] | None = None
    ) -> T:
        """What the database answers, or what `lost` does where it gives no answer."""
        self._look_after_file()
        if not self.is_lost:
            first = partial(ask, *arguments)
            try:
                return self._attempt(first, again or first, self._backend.engine.dispose)
            except StorageAwayError as error:
                self.overflow.loss = str(error)
        return lost()

    def _deliver(self, write: Callable[[], object], as_operations: Callable[[], list[Operation]]) -> bool:
        """What is written is in the database or in the journal. False where the database says that it is not so.

        Raises: StorageLostError where neither takes it.
        """
        waiting: list[Operation] = []

        def again() -> bool:  # the failed attempt may have been carried out after all, or in part
            for each in waiting:
                perform(each, self._backend)
            return True

        def failed() -> None:
            # A connection that was opened while the file could only be read, or before the server went away, stays
            # useless.
            self._backend.engine.dispose()
            if not waiting:  # in the journal at once: whoever ends the process while it waits loses nothing
                waiting.extend(as_operations())
                self.overflow.keep(waiting)

        self._look_after_file()
        if self.is_lost:
            self.overflow.keep(as_operations())
        else:
            try:
                done = self._attempt(lambda: write() is not False, again, failed)
            except StorageAwayError as error:
                self.overflow.loss = str(error)
            else:
                if waiting:
                    self.overflow.empty()
                return done
        if self.overflow.journal is None:
            self._raise_lost()
        return True

    def _attempt(self, first: Callable[[], T], again: Callable[[], T], failed: Callable[[], None]) -> T:
        try:
            return self.patience.attempt(first, again, failed)
        except (KeyError, IntegrityError) as error:
            if is_of_what_is_gone(error):
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
