"""The records that a study stores beside its trials."""

from statistics import fmean, stdev
from typing import Literal

from pydantic import Field

from fmnist.config import TrialConfig
from fmnist.data.cleaning import CleaningReport
from search.study.record import Record


class DataRecord(Record):
    """The images that the study trains on."""

    KEY = "data"
    name: str  # "Fashion-MNIST", "synthetic" or the name of the file or folder
    fingerprint: str  # SHA-256 over the cleaned images of the training file, their labels and class names
    train: int
    valid: int
    class_names: tuple[str, ...]
    # Studies of version 0.1 lack the following fields.
    test: int | None = None
    test_fingerprint: str | None = None
    path: str | None = None  # the value of --data; None if Fashion-MNIST was found without it
    test_path: str | None = None
    cleaning: CleaningReport | None = None  # None for synthetic images

    @property
    def is_synthetic(self) -> bool:
        """Whether the images are synthetic."""
        return self.name == "synthetic"

    @property
    def is_fashion_mnist(self) -> bool:
        """Whether the images are the official files."""
        return self.name == "Fashion-MNIST"


class Environment(Record):
    """The environment of one `run` of the study."""

    KEY = "environments"
    at: str  # UTC, ISO 8601
    command: str
    commit: str | None
    versions: dict[str, str]  # package -> version, including "python" and "fmnist-search"
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
    # Fitted on its validation predictions in the confirm stage; None with fewer than 100 images, and in older studies.
    temperature: float | None = None


class Candidate(Record):
    """One of the best trials, retrained with fresh seeds and scored on the validation split."""

    trial: int
    config: TrialConfig
    search_value: float
    runs: tuple[SeedRun, ...] = ()

    @property
    def mean(self) -> float:
        """The mean macro F1 over the fresh seeds, of which there must be at least one."""
        return fmean(run.macro_f1 for run in self.runs)

    @property
    def sd(self) -> float | None:
        """The standard deviation over the fresh seeds; None with a single seed."""
        return stdev(run.macro_f1 for run in self.runs) if len(self.runs) > 1 else None


class SearchEnd(Record):
    """The search ended before its budget; a larger budget, or a higher target, resumes it."""

    KEY = "search_end"
    reason: str
    trials: int
    minutes: float | None
    target: float | None = None
    unused: int | None = None  # trials, where it ended because it had nothing more to gain


class PriorRecord(Record):
    """What the model of the search began with."""

    KEY = "prior"
    trainings: dict[str, int]  # earlier study, or shipped search -> how many of its trainings
    # Earlier study on the same test images -> openings of its test split until then, and those it had carried along.
    openings: dict[str, int] = Field(default_factory=dict)

    @property
    def all_openings(self) -> int:
        """The openings of all earlier studies."""
        return sum(self.openings.values())


class Dropped(Record):
    """A trial that is no longer a candidate, because it diverged when it was retrained."""

    trial: int
    reason: str


class Confirmation(Record):
    """The confirm stage. `winner` is the trial with the best mean, None until every candidate has its seeds."""

    KEY = "confirmation"
    candidates: tuple[Candidate, ...]
    winner: int | None = None
    dropped: tuple[Dropped, ...] = ()
    temperature: float | None = None  # of the winner; None if none could be fitted, and in older studies
    # Trials of a front, the cheapest first, and their temperatures; the winner is the best of them.
    points: tuple[int, ...] = ()
    temperatures: tuple[float | None, ...] = ()


class Variant(Record):
    """The winner with one regulariser switched off, trained with several seeds and scored on the validation split."""

    without: str | None  # the knob that is set to its neutral value; None for the unchanged winner
    runs: tuple[SeedRun, ...] = ()
    diverged: tuple[int, ...] = ()  # seeds


class Ablation(Record):
    """The ablation of a winner's regularisers; all variants are trained with the same seeds."""

    trial: int
    config: TrialConfig
    variants: tuple[Variant, ...] = ()


class Ablations(Record):
    """All ablations of a study: one per winner and length of training, the latest last."""

    KEY = "ablations"
    found: tuple[Ablation, ...] = ()


class Decision(Record):
    """What a job with a limit of minutes decided on the way, and why."""

    KEY = "decisions"
    seconds: float  # of the job until then
    text: str


class Opening(Record):
    """One opening of the test split."""

    KEY = "openings"
    at: str
    by: str  # "final" or "evaluate"
    trial: int | None


class ClassScore(Record):
    """The scores of one class on the test split, averaged over the final seeds."""

    name: str
    precision: float
    recall: float
    f1: float
    images: int


class FinalTraining(Record):
    """A completed final training, whose checkpoint has not been tested yet."""

    seed: int
    seconds: float
    checkpoint: str | None = None  # its seal; None in studies of version 0.1
    threads: int | None = None  # of the CPU, where they are not those of a worker
    trial: int | None = None  # of a point of a front that is not the winner


class FinalTrainings(Record):
    """The final trainings completed so far, so that an interrupted run can resume."""

    KEY = "final_training"
    runs: tuple[FinalTraining, ...] = ()  # the students, where a study distils
    teachers: tuple[FinalTraining, ...] = ()
    points: tuple[FinalTraining, ...] = ()  # of a front, but for the winner


class FinalRun(Record):
    """One of the final trainings, scored on the test split."""

    seed: int
    macro_f1: float
    accuracy: float
    seconds: float  # of training
    folder: str  # its checkpoint, relative to the study's folder
    checkpoint: str | None = None  # its seal; None in studies of version 0.1
    threads: int | None = None  # of the CPU, where they are not those of a worker


class EnsembleScore(Record):
    """The test scores of several networks as one: the class with the highest mean of their probabilities."""

    members: int
    macro_f1: float
    accuracy: float
    low: float  # bootstrap interval of the macro F1, of the same level and resamples as the final's
    high: float


class Teachers(Record):
    """The networks of the winner that taught those of a final, scored when the test split was opened for these."""

    config: TrialConfig
    runs: tuple[FinalRun, ...]
    mean: float  # of the runs' macro F1
    sd: float | None  # None with a single seed
    low: float  # bootstrap interval of the mean
    high: float
    parameters: int
    flops: int  # to score an image
    ensemble: EnsembleScore | None  # what the students learned from; None with a single seed


class Final(Record):
    """The result: the winner retrained on train + validation with several seeds, or its students, and tested once."""

    KEY = "final"
    trial: int | None  # None if the configuration was given without a search
    config: TrialConfig
    runs: tuple[FinalRun, ...]
    mean: float  # of the runs' macro F1
    sd: float | None  # None with a single seed
    low: float  # bootstrap interval of the mean, resampling test images
    high: float
    level: float  # 0.95
    resamples: int
    classes: tuple[ClassScore, ...]
    confusion: tuple[tuple[int, ...], ...]  # of the exported seed; rows true, columns predicted
    exported_seed: int  # the first seed by rule, never the best one on the test split
    parameters: int
    flops: int  # to score an image, two per multiply-add; in studies of version 0.1 without its mirror image
    test_images: int
    predictions: str | None = None  # BLAKE2b of the file of predictions; None in studies of version 0.1
    temperature: float | None = None  # that the models' class scores are divided by; None if they are not
    # Of all runs together; no single network has these scores. None with a single seed, and in older studies.
    ensemble: EnsembleScore | None = None
    teachers: Teachers | None = None  # of these networks, if the study distils


class ExportedFiles(Record):
    """An export in the study's folder; for a study on a server, each machine may have one."""

    KEY = "exports"
    files: dict[str, str]  # name -> BLAKE2b


class Identity(Record):
    """A study and its database, as recorded in the study's folder and models."""

    study: str
    id: str | None  # random; None if no run has used the study since version 0.1
    test_fingerprint: str | None = None  # of the study's test images
    storage: str | None = None  # URL without a password, file paths absolute; None in a model, which does not tell it
    host: str | None = None  # that used the storage


StageName = Literal["search", "confirm", "final", "ablate"]  # in code, records, screens and reports


class Timing(Record):
    """Wall clock seconds per stage, summed over all runs of the study."""

    KEY = "timing"
    search: float = 0.0
    confirm: float = 0.0
    final: float = 0.0
    ablate: float = 0.0  # after the job itself
    job: float = 0.0  # from the command's first step to the report, or to the run's end before it; 0 in older studies

    @property
    def total(self) -> float:
        """The seconds of the job itself: search, confirm and final."""
        return self.search + self.confirm + self.final
