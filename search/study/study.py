"""A study in its storage: created, opened, resumed; its sampler and pruner; the attributes that hold its records."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from datetime import datetime
from importlib.metadata import version

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.storages import RDBStorage
from optuna.study import StudyDirection

from fmnist.suggestions import did_you_mean
from search.errors import SearchError, StorageLostError
from search.storage.journal import Journal
from search.storage.own_trials import OwnTrials
from search.storage.patient import require_storage
from search.storage.recovery import identity, take_up
from search.study.drift import require_same_data, require_same_set_up
from search.study.paths import journal_path
from search.study.records import DataRecord, R, Record, parse_record, record_in, records_in
from search.study.spec import StudySpec

METRIC = "macro F1"  # what a trial's value is, on the validation split
TOOLKIT = "toolkit"  # the version that a study was last run with


def create_study(storage: RDBStorage, spec: StudySpec, data: DataRecord) -> optuna.Study:
    """The study of that name, new or resumed, with its sampler and pruner.

    What an earlier run left in its journal is in the database before anything is read.
    Raises: SearchError where it exists with another space, seed or data: its trials could not be compared. StorageLostError.
    """
    take_up(journal_path(spec.name), spec.name, OwnTrials(storage))
    check_resumable(storage, spec, data)
    study = optuna.create_study(
        study_name=spec.name, storage=OwnTrials(storage), direction=StudyDirection.MAXIMIZE, load_if_exists=True, pruner=spec.make_pruner()
    )
    _name_value(study)
    if "final" not in study.user_attrs:  # what a finished study was made with stays
        study.set_user_attr("spec", spec.model_dump(mode="json"))
        write(study, data)
        study.set_user_attr(TOOLKIT, version("fmnist-search"))
    # Seeded by what is there already: a resumed search goes on instead of proposing its first configurations again.
    study.sampler = spec.make_sampler(seed=spec.seed + len(study.get_trials(deepcopy=False)))
    return study


def _name_value(study: optuna.Study) -> None:
    """optuna-dashboard calls a trial's value what it is, not "Objective 0"."""
    if study.metric_names is None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            study.set_metric_names([METRIC])


@contextmanager
def journalled(study: optuna.Study, announce: Callable[[str], None]) -> Iterator[None]:
    """While the block runs, what the database does not take stands in the study's journal, and `announce` is told of it.

    Raises: SearchError where there is no room for a journal. StorageLostError at the end of the block if the database was lost in it.
    """
    own = study._storage
    assert isinstance(own, OwnTrials), "create_study made the study"
    own.patience.announce = announce
    with Journal(journal_path(study.study_name), study=study.study_name, identity=identity(own, study._study_id)) as own.overflow.journal:
        with suppress(StorageLostError), own.guarded():  # raised below, with all that was written on the way here
            yield
        require_storage(study)


def check_resumable(storage: RDBStorage, spec: StudySpec, data: DataRecord) -> None:
    """The storage holds no study of that name, or one with the same set-up and data.

    Raises: SearchError with what differs.
    """
    if spec.name not in storage_names(storage):
        return
    study = optuna.load_study(study_name=spec.name, storage=OwnTrials(storage))
    if "spec" not in study.user_attrs:
        if study.get_trials(deepcopy=False) or study.directions != [StudyDirection.MAXIMIZE]:
            raise SearchError(f"The study {spec.name!r} was not made by fmnist-search. Give --name for a new study.")
        return  # killed between its first two writes
    toolkit = version("fmnist-search")
    require_same_set_up(study_spec(study), spec, made_by=study.user_attrs.get(TOOLKIT, toolkit), version=toolkit)
    if kept := read(study, DataRecord):
        require_same_data(spec.name, kept, data)


def load_study(storage: RDBStorage, name: str | None) -> optuna.Study:
    """The study of that name, or without a name the one whose trials ran last.

    Raises: SearchError where there is none.
    """
    own, names = OwnTrials(storage), storage_names(storage)
    if not names:
        raise SearchError("The storage holds no study yet. `fmnist-search run` makes one.")
    if name is None:
        return max((optuna.load_study(study_name=each, storage=own) for each in names), key=_last_at_work)
    if name not in names:
        raise SearchError(f"The storage holds no study named {name!r}. {did_you_mean(name, names)}")
    return optuna.load_study(study_name=name, storage=own)


def _last_at_work(study: optuna.Study) -> datetime:
    times = (trial.datetime_complete or trial.datetime_start for trial in study.get_trials(deepcopy=False))
    return max((at for at in times if at), default=datetime.min)


def storage_names(storage: RDBStorage) -> list[str]:
    """Names of the studies in the storage."""
    return optuna.get_all_study_names(OwnTrials(storage))


def study_spec(study: optuna.Study) -> StudySpec:
    """The spec that the study was last run with."""
    if "spec" not in study.user_attrs:
        raise SearchError(f"The study {study.study_name!r} was not made by fmnist-search: it holds no spec.")
    return parse_record(study.user_attrs["spec"], "spec", StudySpec)


def read(study: optuna.Study, kind: type[R]) -> R | None:
    """The study's record of that kind, None where there is none yet.

    Raises: SearchError where this version cannot read it.
    """
    return record_in(study.user_attrs, kind)


def read_all(study: optuna.Study, kind: type[R]) -> tuple[R, ...]:
    """The study's list of records of that kind, oldest first.

    Raises: SearchError where this version cannot read one.
    """
    return records_in(study.user_attrs, kind)


def write(study: optuna.Study, record: Record, *, key: str | None = None) -> None:
    """The record stands in the storage under its key, or under another one."""
    study.set_user_attr(key or record.KEY, record.model_dump(mode="json"))


def append(study: optuna.Study, record: Record) -> None:
    """The record stands in the storage at the end of the list of its kind, whoever else appends to it at the same time."""
    own, entry = study._storage, record.model_dump(mode="json")
    if isinstance(own, OwnTrials):
        own.append_study_user_attr(study._study_id, record.KEY, entry)
    else:  # in the memory of this process
        study.set_user_attr(record.KEY, [*study.user_attrs.get(record.KEY, []), entry])


@contextmanager
def alone(study: optuna.Study) -> Iterator[None]:
    """Within, no other run on the same server is in such a block of the study: what is read can be written back."""
    own = study._storage
    with own.held(study.study_name) if isinstance(own, OwnTrials) else nullcontext():
        yield
