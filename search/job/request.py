"""RunRequest: what `fmnist-search run` was asked for."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypedDict

from search.samplers.names import Pruner, Sampler
from search.study.paths import HOME
from search.study.spec import LimitsSection, StudySpec, load_spec


class Options(TypedDict, total=False):
    """What a call of `search.run` may say besides study and data; what it leaves out is what the study, or the machine,
    says.
    """

    trials: int
    minutes: float
    sampler: Sampler
    pruner: Pruner
    workers: int
    device: str
    name: str
    seed: int
    knobs: Mapping[str, Any]  # in place of the study's own, such as {"depth": 3, "dropout": {"low": 0.0, "high": 0.3}}
    skip_unreadable: bool
    trial_timeout: float  # seconds without a word from a worker
    max_params: int
    max_size: int  # bytes
    max_latency_ms: float


@dataclass(frozen=True)
class RunRequest:
    """What was asked for on the command line; None is what the study, or the machine, says."""

    storage: str
    study: str | None = None
    trials: int | None = None
    minutes: float | None = None
    sampler: str | None = None
    pruner: str | None = None
    workers: int | None = None
    device: str | None = None
    data: str | None = None
    test: str | None = None
    skip_unreadable: bool = False
    or_synthetic: bool = False
    name: str | None = None
    seed: int | None = None
    settings: tuple[str, ...] = ()
    trial_timeout: float | None = None
    max_params: int | None = None
    max_size: int | None = None
    max_latency_ms: float | None = None
    executor: str = "local"
    address: str | None = None
    cpus_per_trial: float | None = None
    gpus_per_trial: float | None = None
    max_workers: int | None = None
    home: Path = HOME  # where the studies' folders are
    knobs: Mapping[str, Any] = field(default_factory=dict)  # in place of the study's own

    def read_spec(self) -> StudySpec:
        """The study with these wishes in place of its own, under its own name.

        Raises: FmnistError with all that is wrong.
        """
        return load_spec(self.study).overridden(
            trials=self.trials,
            minutes=self.minutes,
            sampler=self.sampler,
            pruner=self.pruner,
            seed=self.seed,
            limits={key: getattr(self, key) for key in LimitsSection.model_fields},
            settings=self.settings,
            knobs=self.knobs,
            skip_unreadable=self.skip_unreadable,
        )
