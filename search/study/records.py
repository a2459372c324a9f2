"""What a study remembers beside its trials: JSON in the study's attributes, checked on the way in and out."""

from collections.abc import Mapping
from statistics import fmean, stdev
from typing import Any, ClassVar, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from fmnist.config import TrialConfig
from fmnist.data.cleaning import CleaningReport
from fmnist.refusals import shown
from search.errors import SearchError

T = TypeVar("T")
R = TypeVar("R", bound="Record")


class Record(BaseModel):
    """Frozen. Fields that this version does not know, as a later one may have written them, are left out when it is
    read.

    `KEY` is the attribute of a study that holds the record, or a list of such records; "" for what is only a part of
    another.
    """

    KEY: ClassVar[str] = ""
    model_config = ConfigDict(frozen=True, extra="ignore")


def record_in(attributes: Mapping[str, Any], kind: type[R]) -> R | None:
    """The record of that kind among a study's attributes, None where there is none yet.

    Raises: SearchError where this version cannot read it.
    """
    return parse_record(attributes[kind.KEY], kind.KEY, kind) if kind.KEY in attributes else None


def records_in(attributes: Mapping[str, Any], kind: type[R]) -> tuple[R, ...]:
    """The list of records of that kind among a study's attributes, oldest first.

    Raises: SearchError where this version cannot read one.
    """
    return parse_record(attributes.get(kind.KEY, []), kind.KEY, tuple[kind, ...])  # type: ignore[valid-type]


def parse_record(value: Any, key: str, kind: type[T]) -> T:
    """What a study's attributes hold under `key`, as what it is.

    Raises: SearchError where it is not of that kind.
    """
    try:
        return TypeAdapter(kind).validate_python(value, strict=False)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(step) for step in (key, *first["loc"]))
        raise SearchError(
            f"The study's record {shown(where)} cannot be read: {first['msg'].lower()}, got {shown(first['input'])}. "
            "Use the version of fmnist-search that wrote the study."
        ) from None


class DataRecord(Record):
    """Which images the study trains on."""

    KEY = "data"
    name: str  # "Fashion-MNIST", "synthetic" or the name of the file or folder
    fingerprint: str  # SHA-256 over the cleaned images of the training file, their labels and class names
    train: int
    valid: int
    class_names: tuple[str, ...]
    # Studies of version 0.1 knew nothing of the rest.
    test: int | None = None
    test_fingerprint: str | None = None
    path: str | None = None  # what --data named; None where Fashion-MNIST was found without it
    test_path: str | None = None
    cleaning: CleaningReport | None = None  # None for images that are drawn by code

    @property
    def is_synthetic(self) -> bool:
        """Whether its figures say nothing of Fashion-MNIST."""
        return self.name == "synthetic"

    @property
    def is_fashion_mnist(self) -> bool:
        """Whether these are the official files."""
        return self.name == "Fashion-MNIST"


class Environment(Record):
    """Where one `run` happened; a study keeps one a run."""

    KEY = "environments"
    at: str  # UTC, ISO 8601
    command: str
    commit: str | None
    versions: dict[str, str]  # package -> version; "python" and "fmnist-search" among them
    platform: str
    processor: str
    cores: int
    device: str  # "cpu", or the GPU's name
    workers: int
    threads_per_worker: int


class SeedRun(Record):
    """One training of a fixed configuration."""

    seed: int
    macro_f1: float
    seconds: float


class Candidate(Record):
    """One of the best trials, trained again on fresh seeds and scored on the validation split."""

    trial: int
    config: TrialConfig
    search_value: float
    runs: tuple[SeedRun, ...] = ()

    @property
    def mean(self) -> float:
        """Of the fresh seeds; there must be one."""
        return fmean(run.macro_f1 for run in self.runs)

    @property
    def sd(self) -> float | None:
        """None with a single seed."""
        return stdev(run.macro_f1 for run in self.runs) if len(self.runs) > 1 else None


class Dropped(Record):
    """A trial that is no candidate any more: trained again, it diverged."""

    trial: int
    reason: str


class Confirmation(Record):
    """The confirm stage. `winner` is the trial with the best mean, None until every candidate has its seeds."""

    KEY = "confirmation"
    candidates: tuple[Candidate, ...]
    winner: int | None = None
    dropped: tuple[Dropped, ...] = ()


class Variant(Record):
    """The winner with one regulariser switched off, trained on several seeds and scored on the validation split."""

    without: str | None  # the knob, at its neutral value; None of the winner as it is
    runs: tuple[SeedRun, ...] = ()
    diverged: tuple[int, ...] = ()  # seeds


class Ablation(Record):
    """What the winner is without each of its regularisers; every variant is trained on the same seeds."""

    trial: int
    config: TrialConfig
    variants: tuple[Variant, ...] = ()


class Ablations(Record):
    """All of a study: one for each winner and length of training, the latest last."""

    KEY = "ablations"
    found: tuple[Ablation, ...] = ()


class Opening(Record):
    """One look at the test split."""

    KEY = "openings"
    at: str
    by: str  # "final" or "evaluate"
    trial: int | None


class ClassScore(Record):
    """Of one class, on the test split; the mean over the final seeds."""

    name: str
    precision: float
    recall: float
    f1: float
    images: int


class FinalTraining(Record):
    """One final training that is done; its checkpoint waits for the test."""

    seed: int
    seconds: float
    checkpoint: str | None = None  # its seal; None in studies of version 0.1


class FinalTrainings(Record):
    """The final trainings so far, so that an interrupted run goes on where it was."""

    KEY = "final_training"
    runs: tuple[FinalTraining, ...] = ()


class FinalRun(Record):
    """One of the final trainings, scored on the test split."""

    seed: int
    macro_f1: float
    accuracy: float
    seconds: float  # of training
    folder: str  # its checkpoint, relative to the study's folder
    checkpoint: str | None = None  # its seal; None in studies of version 0.1


class Final(Record):
    """The result: the winner retrained on train + validation with several seeds, tested once."""

    KEY = "final"
    trial: int | None  # None where the configuration came without a search
    config: TrialConfig
    runs: tuple[FinalRun, ...]
    mean: float  # of the runs' macro F1
    sd: float | None  # None with a single seed
    low: float  # bootstrap interval of the mean, over test images
    high: float
    level: float  # 0.95
    resamples: int
    classes: tuple[ClassScore, ...]
    confusion: tuple[tuple[int, ...], ...]  # of the exported seed; rows true, columns predicted
    exported_seed: int  # the first seed by rule, never the best one on the test split
    parameters: int
    flops: int  # of one image's forward pass, two a multiply-add
    test_images: int
    predictions: str | None = None  # BLAKE2b of the file of the models' answers; None in studies of version 0.1


class ExportedFiles(Record):
    """An export in the study's folder; of a study on a server, machines may have one each."""

    KEY = "exports"
    files: dict[str, str]  # name -> BLAKE2b


class Identity(Record):
    """Which study, in which database: what a folder and a model know of the study whose they are."""

    study: str
    id: str | None  # drawn at random; None of a study that no run has touched since version 0.1
    test_fingerprint: str | None = None  # of its test images
    storage: str | None = (
        None  # its URL without a password, a file's path absolute; a model does not tell where it is kept
    )
    host: str | None = None  # that the storage was used from


StageName = Literal["search", "confirm", "final", "ablate"]  # in code, records, screens and reports


class Timing(Record):
    """Seconds of wall clock per stage, summed over all runs of the study."""

    KEY = "timing"
    search: float = 0.0
    confirm: float = 0.0
    final: float = 0.0
    ablate: float = 0.0  # what was learned of the winner afterwards

    @property
    def total(self) -> float:
        """Of the job itself: search, confirm and final."""
        return self.search + self.confirm + self.final


class Holder(Record):
    """The run that works on a study, or did last."""

    KEY = "holder"
    host: str
    process: int
    since: str
    seen: str  # when it was last known to be at work
    is_over: bool = False
    # Runs of earlier versions said nothing of the rest.
    token: str | None = (
        None  # drawn once a process: hosts and numbers of processes repeat, in containers and machines that were cloned
    )
    pid_space: str | None = (
        None  # within which a number means one process: the boot and the namespace; None where there is no /proc
    )
