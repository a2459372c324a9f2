"""Study: Optuna's study with the records beside its trials and the folder of its files; how one is made, opened and
resumed.
"""

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import optuna
from optuna import Study as OptunaStudy
from optuna.exceptions import ExperimentalWarning
from optuna.storages import RDBStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from fmnist.suggestions import did_you_mean
from search.errors import SearchError, StorageLostError
from search.storage.foreign import SPEC
from search.storage.journal import Journal
from search.storage.optuna_private import storage_of, study_id
from search.storage.own_trials import OwnTrials
from search.storage.recovery import identity, take_up
from search.study.drift import require_same_data, require_same_set_up
from search.study.paths import HOME, journal_path, snapshot_path
from search.study.records import DataRecord, R, Record, parse_record, record_in, records_in
from search.study.spec import StudySpec

METRIC = "macro F1"  # what a trial's value is, on the validation split
TOOLKIT = "toolkit"  # the version that a study was last run with


@dataclass(frozen=True, eq=False)
class Study:
    """A study: Optuna's, the records beside its trials, and the folder of its files.

    Args:
        optuna: The study of Optuna, with the trials.
        home: The folder in which each study has one of its own.
    """

    optuna: OptunaStudy
    home: Path = HOME

    @property
    def name(self) -> str:
        """By which the storage knows the study."""
        return self.optuna.study_name

    @property
    def folder(self) -> Path:
        """Where the study's files go: checkpoints, report, export."""
        return self.home / self.name

    @property
    def attributes(self) -> dict[str, Any]:
        """All that stands in the storage beside the trials, by its keys."""
        return self.optuna.user_attrs

    @property
    def spec(self) -> StudySpec:
        """The spec that the study was last run with.

        Raises: SearchError where it has none, or one that this version cannot read.
        """
        attributes = self.attributes
        if SPEC not in attributes:
            raise SearchError(f"The study {self.name!r} was not made by fmnist-search: it holds no spec.")
        return parse_record(attributes[SPEC], SPEC, StudySpec)

    @property
    def storage(self) -> OwnTrials:
        """Where the study is kept; a study in the memory of this process has none."""
        own = storage_of(self.optuna)
        assert isinstance(own, OwnTrials), "create_study or load_study opened the study"
        return own

    @property
    def is_stored(self) -> bool:
        """Whether a database has the study, not just the memory of this process."""
        return isinstance(storage_of(self.optuna), OwnTrials)

    @property
    def id(self) -> int:
        """The study's number in its storage."""
        return study_id(self.optuna)

    def trials(self, states: Sequence[TrialState] | None = None) -> list[FrozenTrial]:
        """The trials in those states, by their numbers; not copies, so they must not be changed."""
        return self.optuna.get_trials(deepcopy=False, states=None if states is None else tuple(states))

    def snapshot(self, key: str) -> Path:
        """Where the training of that key is kept while it runs."""
        return snapshot_path(self.folder, key)

    def read(self, kind: type[R]) -> R | None:
        """The record of that kind, None where there is none yet.

        Raises: SearchError where this version cannot read it.
        """
        return record_in(self.attributes, kind)

    def read_all(self, kind: type[R]) -> tuple[R, ...]:
        """The list of records of that kind, oldest first.

        Raises: SearchError where this version cannot read one.
        """
        return records_in(self.attributes, kind)

    def write(self, record: Record, *, key: str | None = None) -> None:
        """The record stands in the storage under its key, or under another one."""
        self.optuna.set_user_attr(key or record.KEY, record.model_dump(mode="json"))

    def append(self, record: Record) -> None:
        """The record stands in the storage at the end of the list of its kind. Other processes may append at the same
        time.
        """
        entry = record.model_dump(mode="json")
        if self.is_stored:
            self.storage.append_study_user_attr(self.id, record.KEY, entry)
        else:
            self.optuna.set_user_attr(record.KEY, [*self.attributes.get(record.KEY, []), entry])

    @property
    def is_lost(self) -> bool:
        """Whether the study's database is given up for the rest of this process."""
        return self.is_stored and self.storage.is_lost

    def require_storage(self) -> None:
        """Raises: StorageLostError where the study's database is given up."""
        if self.is_lost:
            raise self.storage.overflow.error

    def alone(self) -> AbstractContextManager[None]:
        """Within, no other run on the same server is in such a block of the study: what is read can be written back."""
        return self.storage.held(self.name) if self.is_stored else nullcontext()


def create_study(storage: RDBStorage, spec: StudySpec, data: DataRecord, home: Path = HOME) -> Study:
    """The study of that name, new or resumed, with its sampler and pruner.

    What an earlier run left in its journal is in the database before anything is read.
    Raises: SearchError where it exists with another space, seed or data: its trials could not be compared.
    StorageLostError.
    """
    # By another OwnTrials than the study's, which remembers the trials that it has seen running.
    take_up(journal_path(home / spec.name), spec.name, OwnTrials(storage))
    check_resumable(storage, spec, data)
    found = optuna.create_study(
        study_name=spec.name,
        storage=OwnTrials(storage),
        direction=StudyDirection.MAXIMIZE,
        load_if_exists=True,
        pruner=spec.make_pruner(),
    )
    _name_value(found)
    study = Study(found, home)
    if "final" not in study.attributes:  # what a finished study was made with stays
        found.set_user_attr(SPEC, spec.model_dump(mode="json"))
        study.write(data)
        found.set_user_attr(TOOLKIT, version("fmnist-search"))
    # Seeded by what is there already: a resumed search goes on instead of proposing its first configurations again.
    found.sampler = spec.make_sampler(seed=spec.seed + len(study.trials()))
    return study


def _name_value(study: OptunaStudy) -> None:
    """optuna-dashboard calls a trial's value what it is, not "Objective 0"."""
    if study.metric_names is None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            study.set_metric_names([METRIC])


@contextmanager
def journalled(study: Study, announce: Callable[[str], None]) -> Iterator[None]:
    """While the block runs, what the database does not take stands in the study's journal, and `announce` is told of
    it.

    Raises: SearchError where there is no room for a journal. StorageLostError at the end of the block if the database
    was lost in it.
    """
    own = study.storage
    own.patience.announce = announce
    with Journal(
        journal_path(study.folder), study=study.name, identity=identity(own, study.id)
    ) as own.overflow.journal:
        with suppress(StorageLostError), own.guarded():  # raised below, with all that was written on the way here
            yield
        study.require_storage()


def check_resumable(storage: RDBStorage, spec: StudySpec, data: DataRecord) -> None:
    """The storage holds no study of that name, or one with the same set-up and data.

    Raises: SearchError with what differs.
    """
    if spec.name not in storage_names(storage):
        return
    study = Study(optuna.load_study(study_name=spec.name, storage=OwnTrials(storage)))
    if SPEC not in study.attributes:
        if study.trials() or study.optuna.directions != [StudyDirection.MAXIMIZE]:
            raise SearchError(f"The study {spec.name!r} was not made by fmnist-search. Give --name for a new study.")
        return  # killed between its first two writes
    toolkit = version("fmnist-search")
    require_same_set_up(study.spec, spec, made_by=study.attributes.get(TOOLKIT, toolkit), version=toolkit)
    if kept := study.read(DataRecord):
        require_same_data(spec.name, kept, data)


def load_study(storage: RDBStorage, name: str | None, home: Path = HOME) -> Study:
    """The study of that name, or without a name the one whose trials ran last.

    Raises: SearchError where there is none.
    """
    own, names = OwnTrials(storage), storage_names(storage)
    if not names:
        raise SearchError("The storage holds no study yet. `fmnist-search run` makes one.")
    if name is None:
        return max((Study(optuna.load_study(study_name=each, storage=own), home) for each in names), key=_last_at_work)
    if name not in names:
        raise SearchError(f"The storage holds no study named {name!r}. {did_you_mean(name, names)}")
    return Study(optuna.load_study(study_name=name, storage=own), home)


def _last_at_work(study: Study) -> datetime:
    times = (trial.datetime_complete or trial.datetime_start for trial in study.trials())
    return max((at for at in times if at), default=datetime.min)


def storage_names(storage: RDBStorage) -> list[str]:
    """Names of the studies in the storage."""
    return optuna.get_all_study_names(OwnTrials(storage))
