"""The main job: search, confirm, retrain, test once, report, export. It resumes where an earlier run ended."""

from contextlib import ExitStack, nullcontext
from itertools import count

from fmnist.atomic import remove_unfinished
from fmnist.data.splits import SPLIT_SEED, search_splits, test_pixels
from search.errors import AnotherRunError
from search.job.confirm import confirm, drop_winner
from search.job.export import export_points, export_study
from search.job.extend import extend
from search.job.final import DivergedWinnerError, has_models, make_final
from search.job.interrupt import Interrupt
from search.job.latency import learn_latency
from search.job.loop import best_of
from search.job.minutes import in_words
from search.job.plan import Plan, as_begun, check_storage, require_searched
from search.job.progress.base import Progress
from search.job.replanning import before_confirm, before_final, decide, outlook_of
from search.job.search import optimize
from search.job.stage import Stage
from search.job.tracking import tracked
from search.report.render import read_report, write_report
from search.storage.opening import open_storage
from search.study.chance import nothing_learned
from search.study.coordinators import joined, require_agreement
from search.study.lock import noted_run, sole_run
from search.study.ownership import claim_folder, require_no_others_folder, require_renamed
from search.study.paths import RUNNING
from search.study.records import Decision, Final
from search.study.study import Study, create_study, guarded
from search.study.timing import JobClock


def carry_out(plan: Plan, progress: Progress, *, is_guest: bool = False) -> Study:
    """Run the study to its result, report and export, and return it; a finished study is not changed.

    Args:
        is_guest: The process belongs to another program, such as a notebook.

    Raises: SearchError if the study cannot be resumed, or another run is at work on it. AnotherRunError if another run,
    on the same database server, is ending the study. StorageLostError. InterruptedRunError.
    """
    name = plan.spec.name
    require_no_others_folder(plan.storage, plan.folder)
    if plan.spec.prior.studies:
        check_storage(plan)
    storage = open_storage(plan.storage, create=True)  # first, so that an error here leaves no folder behind
    require_renamed(storage, name)
    with sole_run(plan.folder, name, storage):
        with storage.locked(f"begin {name}"):  # runs that begin together have the decisions of the first one
            plan = as_begun(plan, storage)
            if plan.is_shared:
                require_agreement(storage, plan.spec)
            if plan.extends and (told := extend(storage, plan.spec, plan.data)):
                progress.message(told)
            study = create_study(storage, plan.spec, plan.data, plan.home)
        claim_folder(study)
        with (
            guarded(study, progress.message),
            tracked(study, plan.trackers, progress, is_shared=plan.is_shared) as watched,
        ):
            _finish(study, plan, watched, Interrupt(is_guest=is_guest))
    return study


def _finish(study: Study, plan: Plan, progress: Progress, interrupt: Interrupt) -> None:
    from search.export.agreement import require_export
    from search.report.page.html import PAGE, write_page

    export_folder = study.folder / "export"
    is_new = study.read(Final) is None
    clock = JobClock(study, plan.began)
    if is_new and plan.spec.budget.minutes is not None and not study.read_all(Decision):
        decide(study, clock, in_words(plan.spec, plan.costs, plan.data))
    with ExitStack() as ends:
        if is_new:
            _train(study, plan, progress, interrupt, ends, clock)
            clock.note()
        else:
            require_searched(study, plan.spec)
        progress.step("report")
        write_report(read_report(study), study.folder)
        write_page(study, study.folder / PAGE)
        # The folder may be left from a study whose database was deleted; and the models of a study on a server may be
        # on another machine.
        progress.step("export")
        if is_new or (not export_folder.exists() and has_models(study)):
            export_study(study, plan.source, export_folder, progress.message)
        elif export_folder.exists():
            require_export(study, export_folder)
        if plan.spec.search.against and has_models(study):
            export_points(study, plan.source, progress.message)
        _annotate(study, plan, progress)


def _annotate(study: Study, plan: Plan, progress: Progress) -> None:
    from search.dashboard.annotate import annotate

    is_tested = study.read(Final) is not None
    annotate(
        study,
        search_splits(plan.source, seed=SPLIT_SEED).valid.pixels,
        test_pixels(plan.source) if is_tested else None,
        announce=progress.message,
    )


def _train(
    study: Study, plan: Plan, progress: Progress, interrupt: Interrupt, ends: ExitStack, clock: JobClock
) -> None:
    """Run the stages up to the study's result; other runs are locked out until `ends` is closed."""
    for folder in (study.folder, study.folder / RUNNING, study.folder / "final"):
        remove_unfinished(folder)
    learn_latency(study, plan.spec, len(plan.data.class_names), plan.place, progress.message)
    with interrupt, plan.place.open(plan.source, progress.message) as (executor, environment):
        study.append(environment)
        stage = Stage(study, plan.spec, executor, progress, interrupt, clock)

        def look_ahead(stage: Stage = stage) -> None:
            progress.expect(outlook_of(stage, plan.costs, plan.data))

        look_ahead()
        with joined(study, plan.spec, progress.message) if plan.is_shared else nullcontext():
            optimize(stage, len(plan.data.class_names), look_ahead)
        if (best := best_of(study)) and (nothing := nothing_learned(best.value, plan.data)):
            progress.message(nothing, is_alarm=True)
        if plan.is_shared:
            ends.enter_context(noted_run(study))
            if study.read(Final) is not None:
                raise AnotherRunError("The search is over: another run has brought the study to its end.")
        _annotate(study, plan, progress)
        for attempt in count():
            stage = before_confirm(stage, plan.costs)
            look_ahead(stage)
            winner = confirm(stage)
            stage = before_final(stage, winner, plan.costs, plan.data, plan.images, is_second=attempt > 0)
            look_ahead(stage)
            try:
                make_final(stage, winner, plan.source, plan.place.device)
            except DivergedWinnerError as error:
                drop_winner(study, winner, str(error))
                progress.message(
                    f"Trial {winner.trial} is no longer a candidate: {error}. The next best trial takes its place."
                )
            else:
                return
