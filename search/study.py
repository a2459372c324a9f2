"""A study in its storage: created, opened, resumed; its sampler and pruner; the attributes that hold its records."""

import difflib
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import TypeVar

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler
from optuna.storages import RDBStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from fmnist.suggestions import did_you_mean
from search.errors import SearchError, StorageLostError
from search.journal import Journal
from search.records import DataRecord, Record, Timing
from search.recovery import identity, take_up
from search.spec import StudySpec
from search.storage import OwnTrials, require_storage

FOLDER = Path("studies")
NOTE_SECONDS = 5.0  # between two notes of a stage's time
REFUSED = "refused"  # the attribute of a trial whose network is over a limit, and was not trained
RUNNING = "running"  # within a study's folder: snapshots of the trainings under way
FINISHED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)
BUDGET_KEYS = {"trials", "minutes"}

R = TypeVar("R", bound=Record)


def study_folder(name: str) -> Path:
    """Where the files of the study of that name go: checkpoints, report, export."""
    return FOLDER / name


def snapshot_path(study: str, key: str) -> Path:
    """Where the training of that key is kept while it runs."""
    return study_folder(study) / RUNNING / f"{key.replace(',', '').replace(' ', '-')}.safetensors"


def journal_path(name: str) -> Path:
    """Where the writes wait that the database of the study of that name did not take."""
    return study_folder(name) / "journal.jsonl"


def create_study(storage: RDBStorage, spec: StudySpec, data: DataRecord) -> optuna.Study:
    """The study of that name, new or resumed, with its sampler and pruner.

    What an earlier run left in its journal is in the database before anything is read.
    Raises: SearchError where it exists with another space, seed or data: its trials could not be compared. StorageLostError.
    """
    take_up(journal_path(spec.name), spec.name, OwnTrials(storage))
    check_resumable(storage, spec, data)
    study = optuna.create_study(
        study_name=spec.name, storage=OwnTrials(storage), direction=StudyDirection.MAXIMIZE, load_if_exists=True, pruner=make_pruner(spec)
    )
    if "final" not in study.user_attrs:  # what a finished study was made with stays
        study.set_user_attr("spec", spec.model_dump(mode="json"))
        write(study, "data", data)
    # Seeded by what is there already: a resumed search goes on instead of proposing its first configurations again.
    study.sampler = make_sampler(spec, seed=spec.seed + len(study.get_trials(deepcopy=False)))
    return study


@contextmanager
def journalled(study: optuna.Study, announce: Callable[[str], None]) -> Iterator[None]:
    """While the block runs, what the database does not take stands in the study's journal, and `announce` is told of it.

    Raises: SearchError where there is no room for a journal. StorageLostError at the end of the block if the database was lost in it.
    """
    own = study._storage
    assert isinstance(own, OwnTrials), "create_study made the study"
    own.patience.announce = announce
    with Journal(journal_path(study.study_name), study=study.study_name, identity=identity(own, study._study_id)) as own.overflow.journal:
        with suppress(StorageLostError):  # raised below, with all that was written on the way here
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
        if study.get_trials(deepcopy=False):
            raise SearchError(f"The study {spec.name!r} was not made by fmnist-search. Give --name for a new study.")
        return  # killed between its first two writes
    before, now = _identity(study_spec(study)), _identity(spec)
    if before != now:
        diff = difflib.unified_diff(before, now, "in the storage", "asked for", lineterm="", n=0)
        lines = "\n".join(f"  {line}" for line in diff if not line.startswith("@@"))
        raise SearchError(f"The study {spec.name!r} exists with another set-up. Give --name for a new study, or run it as it was:\n{lines}")
    if kept := read(study, "data", DataRecord):
        _require_same_data(spec.name, kept, data)


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
    return StudySpec.model_validate(study.user_attrs["spec"], strict=False)


def finished_trials(study: optuna.Study) -> list[FrozenTrial]:
    """The trials that count against the budget: complete, pruned or failed, but not those that were over a limit before they began."""
    return [trial for trial in study.get_trials(deepcopy=False, states=FINISHED) if REFUSED not in trial.user_attrs]


def complete_trials(study: optuna.Study) -> list[FrozenTrial]:
    """The trials that trained to their end, best first."""
    trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return sorted(trials, key=lambda trial: -(trial.value or 0.0))


def read(study: optuna.Study, key: str, kind: type[R]) -> R | None:
    """The record kept under `key`, None where there is none yet."""
    found = study.user_attrs.get(key)
    return None if found is None else kind.model_validate(found, strict=False)


def write(study: optuna.Study, key: str, record: Record | Sequence[Record]) -> None:
    """The record, or the list of records, stands in the storage under `key`."""
    dump = record.model_dump(mode="json") if isinstance(record, Record) else [entry.model_dump(mode="json") for entry in record]
    study.set_user_attr(key, dump)


def append(study: optuna.Study, key: str, record: Record) -> None:
    """The record stands in the storage at the end of the list under `key`."""
    study.set_user_attr(key, [*study.user_attrs.get(key, []), record.model_dump(mode="json")])


@contextmanager
def timed(study: optuna.Study, stage: str) -> Iterator[Callable[[], None]]:
    """The stage's wall clock in the study's Timing has grown by what the block took, however it ended.

    The block calls what it is given now and then, so that little is lost to a kill.
    """
    start = noted = time.monotonic()
    before = getattr(read(study, "timing", Timing) or Timing(), stage)

    def note() -> None:
        timing = read(study, "timing", Timing) or Timing()
        write(study, "timing", timing.model_copy(update={stage: before + time.monotonic() - start}))

    def note_now_and_then() -> None:
        nonlocal noted
        if time.monotonic() - noted > NOTE_SECONDS:
            noted = time.monotonic()
            note()

    try:
        yield note_now_and_then
    finally:
        note()


def make_sampler(spec: StudySpec, *, seed: int) -> BaseSampler:
    """Optuna's sampler of that name, with the project's settings."""
    match spec.search.sampler:
        case "tpe":
            # A third of a small budget at random, then the model; Optuna's own default is 10 whatever the budget.
            return optuna.samplers.TPESampler(seed=seed, n_startup_trials=max(4, min(10, spec.search.trials // 3)))
        case "gp":
            return optuna.samplers.GPSampler(seed=seed, n_startup_trials=max(4, min(10, spec.search.trials // 3)))
        case "cmaes":
            return _CmaEsSampler(seed=seed, warn_independent_sampling=False)
        case "random":
            return optuna.samplers.RandomSampler(seed=seed)
        case "grid":
            return _GridSampler(spec.space.grid(), seed=spec.seed)
        case "nsga2":
            return optuna.samplers.NSGAIISampler(seed=seed, population_size=max(8, min(50, spec.search.trials // 5)))


def make_pruner(spec: StudySpec) -> BasePruner:
    """Optuna's pruner of that name, with the project's settings; a trial's step is its epoch, counted from 1."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)  # patient and wilcoxon: the study chose them
        return _pruner(spec)


def _pruner(spec: StudySpec) -> BasePruner:
    match spec.search.pruner:
        case "hyperband":
            return _HyperbandPruner(min_resource=1, max_resource=spec.epochs, reduction_factor=3)
        case "halving":
            return optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=3)
        case "median":
            return optuna.pruners.MedianPruner(n_startup_trials=4)
        case "patient":
            return optuna.pruners.PatientPruner(optuna.pruners.MedianPruner(n_startup_trials=4), patience=1)
        case "wilcoxon":
            return optuna.pruners.WilcoxonPruner()
        case "none":
            return optuna.pruners.NopPruner()


class _GridSampler(optuna.samplers.GridSampler):
    def after_trial(self, *_: object) -> None:
        """Does nothing: the search loop counts the grid, and Study.stop is an error outside Study.optimize."""


class _CmaEsSampler(optuna.samplers.CmaEsSampler):
    def after_trial(self, study: optuna.Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None) -> None:
        """As Optuna's, which warns at each trial with a limit that this sampler does not learn from it; README says so once."""
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Constraints have been set")
            super().after_trial(study, trial, state, values)


class _HyperbandPruner(optuna.pruners.HyperbandPruner):
    # Optuna makes its view of a bracket anew for every verdict, a class of its own included; that was most of what a verdict cost.

    def _create_bracket_study(self, study: optuna.Study, bracket_id: int) -> optuna.Study:
        views: dict[tuple[int, int, int], optuna.Study] = self.__dict__.setdefault("_views", {})
        key = (id(study._storage), study._study_id, bracket_id)  # a kept view keeps its storage, so no other one has its id
        if key not in views:
            views[key] = super()._create_bracket_study(study, bracket_id)
        return views[key]


def _identity(spec: StudySpec) -> list[str]:
    values = spec.model_dump(exclude_none=True, exclude={"description"})
    for key in BUDGET_KEYS:
        values["search"].pop(key, None)
    return _lines(values)


def _require_same_data(study: str, kept: DataRecord, data: DataRecord) -> None:
    splits = [("training images", kept.fingerprint, data.fingerprint), ("test images", kept.test_fingerprint, data.test_fingerprint)]
    for split, before, now in splits:
        if before and before != now:
            raise SearchError(
                f"The study {study!r} was made on other {split}: those of {kept.name} had the fingerprint {before}, "
                f"now those of {data.name} have {now}. Give --name for a new study, or the data as they were."
            )


def _lines(values: dict[str, object], prefix: str = "") -> list[str]:
    lines: list[str] = []
    for key, value in sorted(values.items()):
        lines += _lines(value, f"{prefix}{key}.") if isinstance(value, dict) else [f"{prefix}{key} = {value!r}"]
    return lines
