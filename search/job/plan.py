"""Plan: a checked request, with what the run will do and its estimated time."""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from fmnist.data.images import Images
from fmnist.data.official import FASHION_MNIST
from fmnist.data.sources import Source, find_source, fingerprint
from fmnist.data.splits import SPLIT_SEED, search_splits, test_fingerprint, test_pixels
from search.errors import SearchError
from search.job.estimate import Costs, measure_costs
from search.job.extend import check_extension
from search.job.few_images import with_enough_steps
from search.job.minutes import adopted, divided, limited, with_minutes_for_target
from search.job.place import Place, choose_place
from search.job.prior import require_configs, require_earlier
from search.job.ranges import JobRange, range_of
from search.job.request import RunRequest
from search.job.sizes import with_best_size
from search.storage.foreign import SPEC
from search.storage.masking import masked
from search.storage.opening import open_storage, storage_url
from search.storage.own_trials import OwnTrials
from search.study.budget import is_searched
from search.study.extension import space_changes
from search.study.ownership import require_no_others_folder, require_renamed
from search.study.records import DataRecord, Final
from search.study.shipped import shipped_studies
from search.study.spec import DEFAULT_STUDY, StudySpec
from search.study.study import Study, check_resumable, load_study, storage_names
from search.study.trials import finished_trials
from search.tracking.choose import choose_trackers, make_tracker
from search.tracking.tracker import Tracker


@dataclass(frozen=True)
class Plan:
    """A checked request. Making a plan starts and writes nothing."""

    spec: StudySpec
    undivided: StudySpec  # before its minutes were divided
    changed: frozenset[str]  # knobs that the request changed
    source: Source
    data: DataRecord
    of_each_class: tuple[int, ...]  # training images, those of validation included
    place: Place
    storage: str
    costs: Costs
    home: Path
    began: float  # of this run, by time.monotonic
    extends: bool  # a study that is stored, whose space may be another one
    changes: tuple[str, ...]  # of its space
    trackers: tuple[Tracker, ...]

    @property
    def images(self) -> int:
        """The number of all training images."""
        return sum(self.of_each_class)

    @property
    def estimate(self) -> JobRange:
        """What the job is expected to take."""
        return range_of(self.spec, self.costs, self.data)

    @property
    def folder(self) -> Path:
        """The folder of the study's files."""
        return self.home / self.spec.name

    @property
    def is_shared(self) -> bool:
        """Whether other runs may share the study, because it is on a database server."""
        return storage_url(self.storage).get_backend_name() != "sqlite"

    @property
    def shown_storage(self) -> str:
        """The storage's URL without a password."""
        return masked(self.storage)


def make_plan(request: RunRequest, announce: Callable[[str], None]) -> Plan:
    """Return the plan of the request after checking its study, device and data.

    Raises: FmnistError with the errors.
    """
    trackers = choose_trackers(request.options.get("track", ()))
    base = _base(request)
    spec = request.read_spec(base)
    if spec.search.sampler == "grid":
        spec.space.grid()
    require_configs(spec)
    place = choose_place(request.options)
    source = find_source(
        request.data,
        test=request.test,
        rules=spec.cleaning,
        size=spec.data.size,
        or_synthetic=request.options.get("or_synthetic", False),
        announce=announce,
    )
    if base is None:
        spec = spec.overridden(name=request.options.get("name") or _study_name(spec.name, source))
    data, of_each_class = _describe(source)
    images = sum(of_each_class)
    spec = with_enough_steps(spec, data.train, announce)
    stored = _stored_spec(request.storage, spec.name)
    if request.extends:
        spec = _extended(request, spec, stored)
    spec = adopted(spec, stored)
    costs = measure_costs(spec, place, data=data, images=images)
    undivided = with_best_size(with_minutes_for_target(spec, costs, data), costs, data, images, stored)
    if (smaller := limited(undivided, costs, data, stored)) != undivided:
        costs = measure_costs(smaller, place, data=data, images=images)
    spec = divided(smaller, costs, data, stored)
    return Plan(
        spec,
        undivided,
        request.changed_knobs(stored if request.extends else None),
        source,
        data,
        of_each_class,
        place,
        request.storage,
        costs,
        request.home,
        request.began,
        request.extends,
        space_changes(stored.space, spec.space) if request.extends and stored else (),
        tuple(make_tracker(name, request.home / spec.name) for name in trackers),
    )


def _base(request: RunRequest) -> StudySpec | None:
    """Return the stored study that the request extends, if it names it as it is stored.

    A file has its own space, and the name of a shipped study may be that of a study on other images.
    """
    study, name = request.study or DEFAULT_STUDY, request.options.get("name")
    if not request.extends or request.is_file or (name is None and study in shipped_studies()):
        return None
    return _stored_spec(request.storage, name or study)


def _extended(request: RunRequest, spec: StudySpec, stored: StudySpec | None) -> StudySpec:
    """Return the stored study with what the request changes; a study file has the whole space itself."""
    if stored is None:
        raise SearchError(
            f"The storage holds no study named {spec.name!r} that could be extended. Leave out --extend to begin it, "
            "or give the --name that it has."
        )
    return spec if request.is_file else request.read_spec(stored)


def as_begun(plan: Plan, storage: OwnTrials) -> Plan:
    """Return the plan with what another run, which began since it was made, has decided on the same minutes."""
    stored = None if plan.extends else _spec_in(storage, plan.spec.name)
    return replace(plan, spec=adopted(plan.spec, stored))


def _stored_spec(storage: str, name: str) -> StudySpec | None:
    """Return the spec of the study of that name in the storage, None if it has none."""
    url = storage_url(storage)
    if url.get_backend_name() == "sqlite" and not Path(url.database or "").exists():
        return None
    return _spec_in(open_storage(storage, create=False), name)


def _spec_in(opened: OwnTrials, name: str) -> StudySpec | None:
    if name not in storage_names(opened):
        return None
    study = load_study(opened, name)
    return study.spec if SPEC in study.attributes else None


def check_storage(plan: Plan) -> Study | None:
    """Check that the storage can hold the study and has those that it begins with, without creating a database.

    Return the study if the storage has it.

    Raises: SearchError, also if more trials are requested than a finished study has.
    """
    url = storage_url(plan.storage)
    require_no_others_folder(plan.storage, plan.folder)
    if url.get_backend_name() == "sqlite" and not Path(url.database or "").exists():
        require_earlier(plan.spec, None, plan.home)
        return None
    storage = open_storage(plan.storage, create=False)
    require_renamed(storage, plan.spec.name)
    if not plan.extends:
        check_resumable(storage, plan.spec, plan.data)
    if plan.spec.name not in storage_names(storage):
        require_earlier(plan.spec, storage, plan.home)
        return None
    study = load_study(storage, plan.spec.name, plan.home)
    if plan.extends:
        check_extension(study, plan.spec, plan.data)
    if study.read(Final) is not None:
        require_searched(study, plan.spec)
    return study


def require_searched(study: Study, spec: StudySpec) -> None:
    """Raise SearchError if more trials are requested than the finished study has."""
    if not is_searched(study, spec):
        raise SearchError(
            f"The study {study.name!r} is finished with {len(finished_trials(study))} trials and its test split was "
            f"opened; {spec.trials} trials were requested. To search longer, give --name for a new study: choosing "
            "again after the test would bias its score."
        )


def _study_name(spec_name: str, source: Source) -> str:
    """Return a name that distinguishes studies of different data; with Fashion-MNIST the name of the spec."""
    if source.name == FASHION_MNIST:
        return spec_name
    stem = re.sub(r"(\.csv|\.gz|\.tsv|\.parquet|\.npz)+$", "", source.name.lower())
    suffix = re.sub(r"[^A-Za-z0-9._-]+", "-", stem).strip("-.")[:50] or "own"
    return spec_name if spec_name == suffix or spec_name.endswith(f"-{suffix}") else f"{spec_name}-{suffix}"


def _describe(source: Source) -> tuple[DataRecord, tuple[int, ...]]:
    """Return the data's record and the number of training images of each class."""
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
    return record, tuple(np.bincount(images.labels, minlength=len(images.class_names)).tolist())
