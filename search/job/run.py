"""The main job: search, confirm, retrain, test once, report, export. Whatever an earlier run did of it is kept."""

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import optuna
import torch

from fmnist.data.images import Images
from fmnist.data.official import FASHION_MNIST
from fmnist.data.sources import Source, find_source, fingerprint
from fmnist.data.splits import SPLIT_SEED, search_splits, test_fingerprint, test_pixels
from fmnist.device import choose_device, device_name
from fmnist.train import is_mixed
from search.errors import AnotherRunError, SearchError
from search.executors import Executor
from search.executors.capacity import default_workers
from search.executors.cluster import Cluster, choose_cluster
from search.executors.local import LocalExecutor
from search.executors.training import Setup
from search.export.formats import FORMATS
from search.job.budget import is_searched
from search.job.confirm import confirm, drop_winner
from search.job.estimate import Estimate, estimate
from search.job.final import DivergedWinnerError, final_folder, finalize, has_models
from search.job.interrupt import Interrupt
from search.job.progress.display import Progress
from search.job.request import RunRequest
from search.job.search import optimize
from search.report.render import read_report, write_report
from search.storage.masking import masked
from search.storage.opening import open_storage, storage_url
from search.study.coordinators import joined, require_agreement
from search.study.environment import capture_environment, cores
from search.study.lock import noted_run, sole_run
from search.study.ownership import claim_folder, require_no_others_folder, require_own_folder
from search.study.predictions import read_predictions
from search.study.records import DataRecord, Environment, Final
from search.study.spec import StudySpec
from search.study.study import (
    append,
    check_resumable,
    create_study,
    finished_trials,
    journalled,
    load_study,
    read,
    storage_names,
    study_folder,
)
from search.study.winner import winning_spec

if TYPE_CHECKING:
    from search.export.export import ExportReport


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
        precision = ", bfloat16" if is_mixed(self.device) else ""  # it is the hardware's, and moves figures in the fourth decimal
        return capture_environment(device=device_name(self.device) + precision, workers=self.workers, threads_per_worker=self.threads)


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
    source = find_source(request.data, test=request.test, rules=spec.cleaning, or_synthetic=request.or_synthetic, announce=announce)
    spec = spec.overridden(name=request.name or _study_name(spec.name, source))
    if cluster is None:
        workers = request.workers or default_workers(device)
        threads = max(1, cores() // workers)
    else:  # a guess, for the estimate: which nodes there are is known once they are connected
        threads = cluster.threads
        workers = cluster.max_workers or max(1, cores() // threads)
    data, images = _describe(source)
    cost = estimate(spec, device, threads=threads, workers=workers, data=data, images=images, is_cluster=cluster is not None)
    return Plan(spec, source, data, device, workers, threads, request.storage, cost, request.trial_timeout, cluster)


def carry_out(plan: Plan, progress: Progress) -> optuna.Study:
    """The study has its result, its report and its export; a finished study is left as it is.

    Raises: SearchError where it cannot go on, or another run is at work on it. AnotherRunError where another run, on the same
    database server, brings the study to its end. StorageLostError. InterruptedRunError.
    """
    name = plan.spec.name
    require_no_others_folder(plan.storage, name)
    storage = open_storage(plan.storage, create=True)  # first: what refuses leaves no folder behind
    with sole_run(study_folder(name), name, storage):
        if plan.is_shared:
            require_agreement(storage, plan.spec)
        study = create_study(storage, plan.spec, plan.data)
        claim_folder(study)
        with journalled(study, progress.message):
            _bring_to_its_end(study, plan, progress)
    return study


def export_study(
    study: optuna.Study, source: Source, to: Path, announce: Callable[[str], None], files: tuple[str, ...] = tuple(FORMATS.values())
) -> "ExportReport":
    """`to` holds the study's final model in the formats of `files`, each compared with PyTorch on all test images.

    Raises: SearchError where the study has no final model, was made on other data, or a format disagrees.
    """
    from search.export.agreement import note_export, require_tested_model
    from search.export.export import export_model  # brings ONNX Runtime, and is the last that a run does
    from search.export.model_facts import read_facts
    from search.export.onnx_export import calibration_pixels

    final, data = read(study, "final", Final), read(study, "data", DataRecord)
    if final is None or data is None:
        raise SearchError(f"The study {study.study_name!r} has no final model yet. The command that began it brings it to its end.")
    require_own_folder(study)
    train, pixels = source.train(), test_pixels(source)
    is_same_test = data.test_fingerprint in (None, test_fingerprint(source)) and len(pixels) == final.test_images
    if fingerprint(train) != data.fingerprint or not is_same_test:
        raise SearchError(f"The study {study.study_name!r} was made on other data than {source.name}; name its own with --data.")
    announce(f"Exporting to {to}")
    tested, checkpoint = read_predictions(study.study_name, final), final_folder(study, final.exported_seed)
    facts = read_facts(study, final, data, tested, winning_spec(study).to_toml())
    require_tested_model(checkpoint, facts.exported, tested, pixels)
    exported = export_model(
        checkpoint,
        to,
        test_pixels=pixels,
        test_labels=tested.labels if tested else None,
        calibration=calibration_pixels(train),
        facts=facts,
        announce=announce,
        files=files,
    )
    if to.resolve() == (study_folder(study.study_name) / "export").resolve():
        note_export(study, to)
    return exported


def check_storage(plan: Plan) -> optuna.Study | None:
    """The study, if it is finished; the storage can be opened and has room for it. A database that is not there yet is not made.

    Raises: SearchError.
    """
    url = storage_url(plan.storage)
    require_no_others_folder(plan.storage, plan.spec.name)
    if url.get_backend_name() == "sqlite" and not Path(url.database or "").exists():
        return None
    storage = open_storage(plan.storage, create=False)
    check_resumable(storage, plan.spec, plan.data)
    study = load_study(storage, plan.spec.name) if plan.spec.name in storage_names(storage) else None
    if study is None or read(study, "final", Final) is None:
        return None
    _require_searched(study, plan.spec)
    return study


def _bring_to_its_end(study: optuna.Study, plan: Plan, progress: Progress) -> None:
    from search.export.agreement import require_export
    from search.report.page.html import PAGE, write_page

    name = study.study_name
    export_folder = study_folder(name) / "export"
    is_new = read(study, "final", Final) is None
    with ExitStack() as ends:
        if is_new:
            _train(study, plan, progress, ends)
        else:
            _require_searched(study, plan.spec)
        write_report(read_report(study), study_folder(name))
        write_page(study, study_folder(name) / PAGE)
        # The folder may be left of a study in a database since deleted; and of one on a server, the models may lie elsewhere.
        if is_new or (not export_folder.exists() and has_models(study)):
            export_study(study, plan.source, export_folder, progress.message)
        elif export_folder.exists():
            require_export(study, export_folder)
        _annotate(study, plan)


def _require_searched(study: optuna.Study, spec: StudySpec) -> None:
    """A study that is finished is not asked for more trials than it has."""
    if not is_searched(study, spec):
        raise SearchError(
            f"The study {study.study_name!r} is finished with {len(finished_trials(study))} trials and its test split was opened; "
            f"{spec.budget} trials were asked for. "
            "To search longer, give --name for a new study: choosing again after the test would spoil its figure."
        )


def _annotate(study: optuna.Study, plan: Plan) -> None:
    from search.dashboard.annotate import annotate

    is_tested = read(study, "final", Final) is not None
    annotate(study, search_splits(plan.source, seed=SPLIT_SEED).valid.pixels, test_pixels(plan.source) if is_tested else None)


def _train(study: optuna.Study, plan: Plan, progress: Progress, ends: ExitStack) -> None:
    """The study has its result; until `ends` is left, no other run touches it."""
    classes = len(plan.data.class_names)
    with Interrupt() as interrupt, _workers(plan, progress.message) as (executor, environment):
        append(study, "environments", environment)
        with joined(study, plan.spec, progress.message) if plan.is_shared else nullcontext():
            optimize(study, plan.spec, executor, progress, interrupt, classes)
        if plan.is_shared:
            ends.enter_context(noted_run(study))
            if read(study, "final", Final) is not None:
                raise AnotherRunError("The search is over: another run has brought the study to its end.")
        _annotate(study, plan)
        while True:
            winner = confirm(study, plan.spec, executor, progress, interrupt)
            try:
                finalize(study, plan.spec, winner, plan.source, executor, progress, interrupt, plan.device)
            except DivergedWinnerError as error:
                drop_winner(study, winner, str(error))
                progress.message(f"Trial {winner.trial} is no candidate any more: {error}. The next best one takes its place.")
            else:
                return


@contextmanager
def _workers(plan: Plan, announce: Callable[[str], None]) -> Iterator[tuple[Executor, Environment]]:
    """Where the plan's trainings run, and what the study is to remember of it."""
    if plan.cluster is None:
        with LocalExecutor(plan.setup, plan.workers, plan.trial_timeout) as local:
            if local.sharing.note:
                announce(local.sharing.note)
            how = ", side by side by MPS" if local.sharing.by_mps else ""
            yield local, plan.environment.model_copy(update={"device": plan.environment.device + how})
    else:
        from search.executors.ray import RayExecutor

        with RayExecutor(plan.setup, plan.cluster, plan.trial_timeout) as far:
            yield far, plan.environment.model_copy(update={"device": far.describe(), "workers": far.free()})


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
