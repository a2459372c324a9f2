"""A study in its storage: created, opened, resumed; its sampler and pruner; the attributes that hold its records."""

import math
import os
import secrets
import socket
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import TypeVar

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.storages import RDBStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from fmnist.suggestions import did_you_mean
from search.errors import SearchError, StorageLostError
from search.storage.foreign import FOREIGN
from search.storage.foreign import REASON as ADDED
from search.storage.journal import Journal
from search.storage.own_trials import OwnTrials
from search.storage.patient import require_storage
from search.storage.recovery import identity, take_up
from search.study.drift import require_same_data, require_same_set_up
from search.study.environment import now
from search.study.records import DataRecord, Holder, Record, Timing, parse_record, read_record
from search.study.spec import StudySpec

FOLDER = Path("studies")
HOLDER = "holder"  # where the storage is a server's: the run that brings the study to its end
COORDINATOR = "coordinator:"  # and, with an id behind it, each run that searches
NOTE_SECONDS = 5.0  # between two notes of a stage's time
REFUSED = "refused"  # the attribute of a trial whose network is over a limit, and was not trained
RUNNING = "running"  # within a study's folder: snapshots of the trainings under way
UNCOUNTED = {REFUSED, FOREIGN}
FINISHED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)
METRIC = "macro F1"  # what a trial's value is, on the validation split
TOOLKIT = "toolkit"  # the version that a study was last run with
PROC = Path("/proc")
TOKENS: dict[int, str] = {}  # by the number of the process, so that one that is forked draws its own

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
        study_name=spec.name, storage=OwnTrials(storage), direction=StudyDirection.MAXIMIZE, load_if_exists=True, pruner=spec.make_pruner()
    )
    _name_value(study)
    if "final" not in study.user_attrs:  # what a finished study was made with stays
        study.set_user_attr("spec", spec.model_dump(mode="json"))
        write(study, "data", data)
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
    if kept := read(study, "data", DataRecord):
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


def finished_trials(study: optuna.Study) -> list[FrozenTrial]:
    """The trials that count against the budget: complete, pruned or failed, but not those that were over a limit before they began.

    Nor does one that another program added.
    """
    return [trial for trial in study.get_trials(deepcopy=False, states=FINISHED) if not UNCOUNTED & trial.user_attrs.keys()]


def foreign_trials(study: optuna.Study) -> list[FrozenTrial]:
    """The trials that another program added with their results; they count nowhere."""
    return [trial for trial in study.get_trials(deepcopy=False) if trial.user_attrs.get("reason") == ADDED]


def complete_trials(study: optuna.Study) -> list[FrozenTrial]:
    """The trials that trained to their end, best first."""
    trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return sorted(trials, key=lambda trial: -(trial.value or 0.0))


def value_of(trial: FrozenTrial) -> float | None:
    """The trial's one value, None where it has none that is a number: not yet, or as another program's study with several."""
    values = trial.values or []
    return values[0] if len(values) == 1 and not math.isnan(values[0]) else None


def constraints_of(trial: FrozenTrial) -> dict[str, float]:
    """Limit -> by how much of it the trial is over it; up to 0 is within."""
    named = {name: share for name, share in trial.constraints.items() if not name.isdigit()}
    return named or trial.constraints  # those with numbers are the same again, for optuna-dashboard, or all that another program gave


def read(study: optuna.Study, key: str, kind: type[R]) -> R | None:
    """The record kept under `key`, None where there is none yet.

    Raises: SearchError where this version cannot read it.
    """
    return read_record(study.user_attrs, key, kind, None)


def write(study: optuna.Study, key: str, record: Record | Sequence[Record]) -> None:
    """The record, or the list of records, stands in the storage under `key`."""
    dump = record.model_dump(mode="json") if isinstance(record, Record) else [entry.model_dump(mode="json") for entry in record]
    study.set_user_attr(key, dump)


def append(study: optuna.Study, key: str, record: Record) -> None:
    """The record stands in the storage at the end of the list under `key`, whoever else appends to it at the same time."""
    own, entry = study._storage, record.model_dump(mode="json")
    if isinstance(own, OwnTrials):
        own.append_study_user_attr(study._study_id, key, entry)
    else:  # in the memory of this process
        study.set_user_attr(key, [*study.user_attrs.get(key, []), entry])


@contextmanager
def alone(study: optuna.Study) -> Iterator[None]:
    """Within, no other run on the same server is in such a block of the study: what is read can be written back."""
    own = study._storage
    with own.held(study.study_name) if isinstance(own, OwnTrials) else nullcontext():
        yield


def mine(*, since: str | None = None, is_over: bool = False) -> Holder:
    """This process as a study remembers it."""
    return Holder(
        host=socket.gethostname(),
        process=os.getpid(),
        since=since or now(),
        seen=now(),
        is_over=is_over,
        token=_token(),
        pid_space=_pid_space(),
    )


def is_mine(holder: Holder) -> bool:
    """Whether it is this process."""
    return holder.token == _token()


def is_numbered_here(holder: Holder) -> bool:
    """Whether the number of its process means here what it means there."""
    here = _pid_space()
    return holder.pid_space == here and (here is not None or holder.host == socket.gethostname())


def _token() -> str:
    return TOKENS.setdefault(os.getpid(), secrets.token_hex(8))


def _pid_space() -> str | None:
    if not (PROC / "self").exists():  # as on macOS, which has no namespaces either
        return None
    try:
        return f"{(PROC / 'sys/kernel/random/boot_id').read_text().strip()} {(PROC / 'self/ns/pid').readlink()}"
    except OSError:  # hidden in a sandbox: equal to no other's
        return f"unknown to {_token()}"


@contextmanager
def timed(study: optuna.Study, stage: str) -> Iterator[Callable[[], None]]:
    """The stage's wall clock in the study's Timing has grown by what the block took, however it ended; blocks side by side count once.

    The block calls what it is given now and then, so that little is lost to a kill, and other machines see that the run is at work.
    """
    start = noted = time.monotonic()
    before = getattr(read(study, "timing", Timing) or Timing(), stage)

    def note() -> None:
        with alone(study):
            timing = read(study, "timing", Timing) or Timing()
            seconds = max(getattr(timing, stage), before + time.monotonic() - start)
            write(study, "timing", timing.model_copy(update={stage: seconds}))
        _show_up(study)

    def note_now_and_then() -> None:
        nonlocal noted
        if time.monotonic() - noted > NOTE_SECONDS:
            noted = time.monotonic()
            note()

    try:
        yield note_now_and_then
    finally:
        note()


def _show_up(study: optuna.Study) -> None:
    own = study._storage
    keys = [HOLDER, COORDINATOR + own.share.owner] if isinstance(own, OwnTrials) and own.share else [HOLDER]
    for key in keys:
        if (holder := read(study, key, Holder)) and not holder.is_over and is_mine(holder):
            write(study, key, mine(since=holder.since))
