"""Study: Optuna's study with our records and folder; create, load and resume one."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import optuna
from optuna import Study as OptunaStudy
from optuna.exceptions import ExperimentalWarning
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from fmnist.suggestions import did_you_mean
from search.errors import SearchError
from search.storage.foreign import SPEC
from search.storage.optuna_private import storage_of, study_id
from search.storage.own_trials import OwnTrials
from search.study.drift import compatible, require_same_data, require_same_set_up
from search.study.paths import HOME, snapshot_path
from search.study.record import R, Record, parse_record, record_in, records_in
from search.study.records import DataRecord
from search.study.spec import StudySpec

METRIC = "macro F1"  # a trial's value, on the validation split
TOOLKIT = "toolkit"  # attribute for the version that last ran the study


@dataclass(frozen=True, eq=False)
class Study:
    """A study: Optuna's study, the records beside its trials, and the folder of its files.

    Args:
        optuna: Optuna's study, with the trials.
        home: The folder that holds the folders of studies.
    """

    optuna: OptunaStudy
    home: Path = HOME

    @property
    def name(self) -> str:
        """The study's name in its storage."""
        return self.optuna.study_name

    @property
    def folder(self) -> Path:
        """The folder of the study's files: checkpoints, report, export."""
        return self.home / self.name

    @property
    def attributes(self) -> dict[str, Any]:
        """The study's attributes, which hold the records."""
        return self.optuna.user_attrs

    @property
    def spec(self) -> StudySpec:
        """The spec that the study was last run with.

        Raises: SearchError if it has none, or one that this version cannot read.
        """
        attributes = self.attributes
        if SPEC not in attributes:
            raise SearchError(f"The study {self.name!r} was not made by fmnist-search: it holds no spec.")
        return parse_record(attributes[SPEC], SPEC, StudySpec)

    @property
    def other_toolkit(self) -> str | None:
        """The toolkit's version that trained the study, if knobs may have had another meaning in it."""
        present = version("fmnist-search")
        made_by = str(self.attributes.get(TOOLKIT, present))
        return None if compatible(made_by) == compatible(present) else made_by

    @property
    def storage(self) -> OwnTrials:
        """The study's storage; a study in this process's memory has none."""
        storage = storage_of(self.optuna)
        assert isinstance(storage, OwnTrials), "create_study or load_study opened the study"
        return storage

    @property
    def is_stored(self) -> bool:
        """Whether the study is in a database, not just in this process's memory."""
        return isinstance(storage_of(self.optuna), OwnTrials)

    @property
    def id(self) -> int:
        """The study's id in its storage."""
        return study_id(self.optuna)

    def trials(self, states: Sequence[TrialState] | None = None) -> list[FrozenTrial]:
        """Return the trials in those states, ordered by number. They are not copies and must not be changed."""
        return self.optuna.get_trials(deepcopy=False, states=None if states is None else tuple(states))

    def snapshot(self, key: str) -> Path:
        """Return the path of the snapshot of the running training `key`."""
        return snapshot_path(self.folder, key)

    def read(self, kind: type[R]) -> R | None:
        """Return the record of that kind, or None if there is none yet.

        Raises: SearchError if this version cannot read it.
        """
        return record_in(self.attributes, kind)

    def read_all(self, kind: type[R]) -> tuple[R, ...]:
        """Return the records of that kind, oldest first.

        Raises: SearchError if this version cannot read one.
        """
        return records_in(self.attributes, kind)

    def write(self, record: Record, *, key: str | None = None) -> None:
        """Write the record to the storage under its key, or under `key`."""
        self.optuna.set_user_attr(key or record.KEY, record.model_dump(mode="json"))

    def note_spec(self, spec: StudySpec) -> None:
        """Store the spec that the study is run with."""
        self.optuna.set_user_attr(SPEC, spec.model_dump(mode="json"))

    def append(self, record: Record) -> None:
        """Append the record to the list of its kind in the storage; safe with concurrent processes."""
        entry = record.model_dump(mode="json")
        if self.is_stored:
            self.storage.append_study_user_attr(self.id, record.KEY, entry)
        else:
            self.optuna.set_user_attr(record.KEY, [*self.attributes.get(record.KEY, []), entry])

    def locked(self) -> AbstractContextManager[None]:
        """Exclude other runs of the study from such blocks, so that a value read inside can be written back."""
        return self.storage.locked(self.name) if self.is_stored else nullcontext()


def create_study(storage: OwnTrials, spec: StudySpec, data: DataRecord, home: Path = HOME) -> Study:
    """Create or resume the study of that name, with its sampler and pruner.

    Raises: SearchError if it exists with another space, seed or data, whose trials are not comparable.
    StorageLostError.
    """
    check_resumable(storage, spec, data)
    optuna_study = optuna.create_study(
        study_name=spec.name,
        storage=storage,
        directions=directions_of(spec),
        load_if_exists=True,
        pruner=spec.make_pruner(),
    )
    _name_values(optuna_study, spec)
    study = Study(optuna_study, home)
    if "final" not in study.attributes:  # a finished study keeps the records it was made with
        study.note_spec(spec)
        study.write(data)
        optuna_study.set_user_attr(TOOLKIT, version("fmnist-search"))
    # The seed depends on the number of trials, so that a resumed search does not repeat its first proposals.
    optuna_study.sampler = spec.make_sampler(seed=spec.seed + len(study.trials()))
    return study


def directions_of(spec: StudySpec) -> list[StudyDirection]:
    """Return the directions of the values of the study's trials: macro F1, then the costs."""
    return [StudyDirection.MAXIMIZE, *[StudyDirection.MINIMIZE] * len(spec.search.against)]


def _name_values(study: OptunaStudy, spec: StudySpec) -> None:
    """Name the trials' values, which optuna-dashboard otherwise calls "Objective 0"."""
    if study.metric_names is None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            study.set_metric_names([METRIC, *spec.search.against])


@contextmanager
def guarded(study: Study, announce: Callable[[str], None]) -> Iterator[None]:
    """Show the storage's messages with `announce` inside the block, and restore a SQLite file that is deleted.

    Raises: StorageLostError.
    """
    study.storage.patience.announce = announce
    with study.storage.guarded():
        yield


def check_resumable(storage: OwnTrials, spec: StudySpec, data: DataRecord) -> None:
    """Require that a stored study of that name, if any, has the same set-up and data.

    Raises: SearchError with the differences.
    """
    if spec.name not in storage_names(storage):
        return
    study = Study(optuna.load_study(study_name=spec.name, storage=storage))
    if SPEC not in study.attributes:
        if study.trials() or study.optuna.directions != directions_of(spec):
            raise SearchError(f"The study {spec.name!r} was not made by fmnist-search. Give --name for a new study.")
        return  # killed between its first two writes
    toolkit = version("fmnist-search")
    require_same_set_up(study.spec, spec, made_by=study.attributes.get(TOOLKIT, toolkit), version=toolkit)
    if stored := study.read(DataRecord):
        require_same_data(spec.name, stored, data)


def load_study(storage: OwnTrials, name: str | None, home: Path = HOME) -> Study:
    """Return the study of that name, or without a name the one whose trials ran last.

    Raises: SearchError if there is none.
    """
    names = storage_names(storage)
    if not names:
        raise SearchError("The storage holds no study yet. `fmnist-search run` creates one.")
    if name is None:
        studies = (Study(optuna.load_study(study_name=stored, storage=storage), home) for stored in names)
        return max(studies, key=_last_at_work)
    if name not in names:
        raise SearchError(f"The storage holds no study named {name!r}. {did_you_mean(name, names)}")
    return Study(optuna.load_study(study_name=name, storage=storage), home)


def _last_at_work(study: Study) -> datetime:
    times = (trial.datetime_complete or trial.datetime_start for trial in study.trials())
    return max((time for time in times if time), default=datetime.min)


def storage_names(storage: OwnTrials) -> list[str]:
    """Return the names of the studies in the storage."""
    return optuna.get_all_study_names(storage)
