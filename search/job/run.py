"""The main job: search, confirm, retrain, test once, report, export. Whatever an earlier run did of it is kept."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext

from fmnist.data.splits import SPLIT_SEED, search_splits, test_pixels
from search.errors import AnotherRunError
from search.executors import Executor
from search.executors.local import LocalExecutor
from search.job.confirm import confirm, drop_winner
from search.job.export import export_study
from search.job.final import DivergedWinnerError, finalize, has_models
from search.job.interrupt import Interrupt
from search.job.plan import Plan, require_searched
from search.job.progress.display import Progress
from search.job.search import optimize
from search.report.render import read_report, write_report
from search.storage.opening import open_storage
from search.study.coordinators import joined, require_agreement
from search.study.lock import noted_run, sole_run
from search.study.ownership import claim_folder, require_no_others_folder
from search.study.records import Environment, Final
from search.study.study import Study, create_study, journalled


def carry_out(plan: Plan, progress: Progress, *, is_guest: bool = False) -> Study:
    """The study has its result, its report and its export; a finished study is left as it is.

    Raises: SearchError where it cannot go on, or another run is at work on it. AnotherRunError where another run, on
    the same database server, brings the study to its end. StorageLostError. InterruptedRunError.

    Args:
        is_guest: The process is not the run's own, as that of a notebook.
    """
    name = plan.spec.name
    require_no_others_folder(plan.storage, plan.folder)
    storage = open_storage(plan.storage, create=True)  # first: what refuses leaves no folder behind
    with sole_run(plan.folder, name, storage):
        if plan.is_shared:
            require_agreement(storage, plan.spec)
        study = create_study(storage, plan.spec, plan.data, plan.home)
        claim_folder(study)
        with journalled(study, progress.message):
            _bring_to_its_end(study, plan, progress, Interrupt(is_guest=is_guest))
    return study


def _bring_to_its_end(study: Study, plan: Plan, progress: Progress, interrupt: Interrupt) -> None:
    from search.export.agreement import require_export
    from search.report.page.html import PAGE, write_page

    export_folder = study.folder / "export"
    is_new = study.read(Final) is None
    with ExitStack() as ends:
        if is_new:
            _train(study, plan, progress, interrupt, ends)
        else:
            require_searched(study, plan.spec)
        write_report(read_report(study), study.folder)
        write_page(study, study.folder / PAGE)
        # The folder may be left of a study in a database since deleted; and of one on a server, the models may lie
        # elsewhere.
        if is_new or (not export_folder.exists() and has_models(study)):
            export_study(study, plan.source, export_folder, progress.message)
        elif export_folder.exists():
            require_export(study, export_folder)
        _annotate(study, plan)


def _annotate(study: Study, plan: Plan) -> None:
    from search.dashboard.annotate import annotate

    is_tested = study.read(Final) is not None
    annotate(
        study, search_splits(plan.source, seed=SPLIT_SEED).valid.pixels, test_pixels(plan.source) if is_tested else None
    )


def _train(study: Study, plan: Plan, progress: Progress, interrupt: Interrupt, ends: ExitStack) -> None:
    """The study has its result; until `ends` is left, no other run touches it."""
    classes = len(plan.data.class_names)
    with interrupt, _workers(plan, progress.message) as (executor, environment):
        study.append(environment)
        with joined(study, plan.spec, progress.message) if plan.is_shared else nullcontext():
            optimize(study, plan.spec, executor, progress, interrupt, classes)
        if plan.is_shared:
            ends.enter_context(noted_run(study))
            if study.read(Final) is not None:
                raise AnotherRunError("The search is over: another run has brought the study to its end.")
        _annotate(study, plan)
        while True:
            winner = confirm(study, plan.spec, executor, progress, interrupt)
            try:
                finalize(study, plan.spec, winner, plan.source, executor, progress, interrupt, plan.device)
            except DivergedWinnerError as error:
                drop_winner(study, winner, str(error))
                progress.message(
                    f"Trial {winner.trial} is no candidate any more: {error}. The next best one takes its place."
                )
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
