"""Plan: a request, checked, as what will be done here and what it costs."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from fmnist.data.images import Images
from fmnist.data.official import FASHION_MNIST
from fmnist.data.sources import Source, find_source, fingerprint
from fmnist.data.splits import SPLIT_SEED, search_splits, test_fingerprint, test_pixels
from fmnist.device import choose_device, device_name
from fmnist.machine import cores
from fmnist.train import is_mixed
from search.errors import SearchError
from search.executors.capacity import default_workers
from search.executors.cluster import Cluster, choose_cluster
from search.executors.training import Setup
from search.job.budget import is_searched
from search.job.estimate import Estimate, estimate
from search.job.request import RunRequest
from search.storage.masking import masked
from search.storage.opening import open_storage, storage_url
from search.study.environment import capture_environment
from search.study.ownership import require_no_others_folder
from search.study.records import DataRecord, Environment, Final
from search.study.spec import StudySpec
from search.study.study import Study, check_resumable, load_study, storage_names
from search.study.trials import finished_trials


@dataclass(frozen=True)
class Plan:
    """A checked request: nothing in it is missing or wrong, and nothing has been started."""

    spec: StudySpec
    source: Source
    data: DataRecord
    device: torch.device
    workers: int
    threads: int
    storage: str
    estimate: Estimate
    trial_timeout: float | None
    cluster: Cluster | None
    home: Path

    @property
    def folder(self) -> Path:
        """Where the study's files go."""
        return self.home / self.spec.name

    @property
    def setup(self) -> Setup:
        """What the workers need to know."""
        return Setup(self.source, SPLIT_SEED, self.cluster.device if self.cluster else str(self.device), self.threads)

    @property
    def is_shared(self) -> bool:
        """Whether other runs may be at work on the study: a database server has it."""
        return storage_url(self.storage).get_backend_name() != "sqlite"

    @property
    def shown_storage(self) -> str:
        """The storage's URL without a password."""
        return masked(self.storage)

    @property
    def environment(self) -> Environment:
        """Where this plan is carried out."""
        precision = (
            ", bfloat16" if is_mixed(self.device) else ""
        )  # it is the hardware's, and moves figures in the fourth decimal
        return capture_environment(
            device=device_name(self.device) + precision, workers=self.workers, threads_per_worker=self.threads
        )


def make_plan(request: RunRequest, announce: Callable[[str], None]) -> Plan:
    """The request, checked: its study, device and data are there.

    Raises: FmnistError with what is wrong.
    """
    spec = request.read_spec()
    if spec.search.sampler == "grid":
        spec.space.grid()
    cluster = choose_cluster(
        request.executor,
        request.address,
        request.cpus_per_trial,
        request.gpus_per_trial,
        request.max_workers,
        given=request.workers or request.device,
    )
    device = choose_device(request.device)
    source = find_source(
        request.data, test=request.test, rules=spec.cleaning, or_synthetic=request.or_synthetic, announce=announce
    )
    spec = spec.overridden(name=request.name or _study_name(spec.name, source))
    if cluster is None:
        workers = request.workers or default_workers(device)
        threads = max(1, cores() // workers)
    else:  # a guess, for the estimate: which nodes there are is known once they are connected
        threads = cluster.threads
        workers = cluster.max_workers or max(1, cores() // threads)
    data, images = _describe(source)
    cost = estimate(
        spec, device, threads=threads, workers=workers, data=data, images=images, is_cluster=cluster is not None
    )
    return Plan(
        spec,
        source,
        data,
        device,
        workers,
        threads,
        request.storage,
        cost,
        request.trial_timeout,
        cluster,
        request.home,
    )


def check_storage(plan: Plan) -> Study | None:
    """The study, if it is finished; the storage can be opened and has room for it. A database that is not there yet is
    not made.

    Raises: SearchError.
    """
    url = storage_url(plan.storage)
    require_no_others_folder(plan.storage, plan.folder)
    if url.get_backend_name() == "sqlite" and not Path(url.database or "").exists():
        return None
    storage = open_storage(plan.storage, create=False)
    check_resumable(storage, plan.spec, plan.data)
    study = load_study(storage, plan.spec.name, plan.home) if plan.spec.name in storage_names(storage) else None
    if study is None or study.read(Final) is None:
        return None
    require_searched(study, plan.spec)
    return study


def require_searched(study: Study, spec: StudySpec) -> None:
    """A study that is finished is not asked for more trials than it has."""
    if not is_searched(study, spec):
        raise SearchError(
            f"The study {study.name!r} is finished with {len(finished_trials(study))} trials and its test split was "
            "opened; "
            f"{spec.budget} trials were asked for. "
            "To search longer, give --name for a new study: choosing again after the test would spoil its figure."
        )


def _study_name(spec_name: str, source: Source) -> str:
    """A name that keeps studies of different data apart; Fashion-MNIST's are called as the spec is."""
    if source.name == FASHION_MNIST:
        return spec_name
    stem = re.sub(r"(\.csv|\.gz|\.tsv|\.parquet|\.npz)+$", "", source.name.lower())
    suffix = re.sub(r"[^A-Za-z0-9._-]+", "-", stem).strip("-.")[:50] or "own"
    return spec_name if spec_name == suffix or spec_name.endswith(f"-{suffix}") else f"{spec_name}-{suffix}"


def _describe(source: Source) -> tuple[DataRecord, int]:
    splits = search_splits(source, seed=SPLIT_SEED)
    images: Images = source.train()
    record = DataRecord(
        name=source.name,
        fingerprint=fingerprint(images),
        train=len(splits.train),
        valid=len(splits.valid),
        class_names=images.class_names,
        test=len(test_pixels(source)),
        test_fingerprint=test_fingerprint(source),
        path=source.path,
        test_path=source.test_path,
        cleaning=source.cleaning,
    )
    return record, len(images)
