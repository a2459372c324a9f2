"""`fmnist-search run`: the main job, from the command line."""

from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from search.cli.arguments import DEFAULT_STORAGE, Data, Device, SkipUnreadable, Storage, Test, quiet_optuna
from search.samplers.names import Pruner, Sampler
from search.study.shipped import shipped_studies
from search.terminal.console import Console

if TYPE_CHECKING:
    from search.job.request import RunRequest


def _named(option: str, names: tuple[str, ...], says: str) -> Any:
    return typer.Option(option, metavar="|".join(names), help=says, autocompletion=lambda: list(names))


Study = Annotated[
    str | None,
    typer.Argument(
        metavar="STUDY", help="A shipped study or a TOML file; without it: quick.", autocompletion=shipped_studies
    ),
]
Trials = Annotated[int | None, typer.Option(metavar="N", min=1, help="Trials of the study in all, over all its runs.")]
Minutes = Annotated[
    float | None, typer.Option(metavar="M", min=0.01, help="Minutes of search in all, over all its runs.")
]
SamplerName = Annotated[
    str | None, _named("--sampler", get_args(Sampler), "What proposes configurations; without it what the study says.")
]
PrunerName = Annotated[
    str | None, _named("--pruner", get_args(Pruner), "What ends trials early; without it what the study says.")
]
Workers = Annotated[int | None, typer.Option(metavar="W", min=1, help="Trainings side by side; without it one a core.")]
OrSynthetic = Annotated[
    bool, typer.Option("--or-synthetic", help="Where Fashion-MNIST cannot be had, show the job on drawn images.")
]
Name = Annotated[str | None, typer.Option(metavar="NAME", help="Name of the study, for a second one of the same kind.")]
Seed = Annotated[int | None, typer.Option(metavar="S", min=0, help="Seed of the search and its trainings.")]
Settings = Annotated[
    list[str] | None, typer.Option("--set", metavar="KNOB=VALUE", help="Pin or narrow a knob; may be repeated.")
]
TrialTimeout = Annotated[
    float | None, typer.Option(metavar="S", min=1, help="Seconds without an epoch that make a worker a hung one.")
]
MaxParams = Annotated[int | None, typer.Option(metavar="N", min=1, help="Parameters that a network may have.")]
MaxSize = Annotated[int | None, typer.Option(metavar="BYTES", min=1, help="Bytes that its weights may take.")]
MaxLatency = Annotated[
    float | None, typer.Option(metavar="MS", min=0.001, help="Milliseconds that it may take for an image, here.")
]
ExecutorName = Annotated[
    str, typer.Option("--executor", metavar="local|ray", help="Worker processes here, or a Ray cluster.")
]
Address = Annotated[
    str | None, typer.Option(metavar="auto|HOST:PORT", help="The Ray cluster; without it Ray is started here.")
]
CpusPerTrial = Annotated[
    float | None, typer.Option(metavar="C", min=0, help="CPUs of a node that a training on Ray takes; 1.")
]
GpusPerTrial = Annotated[
    float | None, typer.Option(metavar="G", min=0, help="GPUs, or a share of one, such as 0.25; none.")
]
MaxWorkers = Annotated[int | None, typer.Option(metavar="N", min=1, help="Trainings on Ray side by side at most.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Print the result only.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Check everything, show the plan and its cost, start nothing.")]


def run(
    study: Study = None,
    trials: Trials = None,
    minutes: Minutes = None,
    sampler: SamplerName = None,
    pruner: PrunerName = None,
    workers: Workers = None,
    device: Device = None,
    data: Data = None,
    test: Test = None,
    skip_unreadable: SkipUnreadable = False,
    or_synthetic: OrSynthetic = False,
    storage: Storage = DEFAULT_STORAGE,
    name: Name = None,
    seed: Seed = None,
    settings: Settings = None,
    trial_timeout: TrialTimeout = None,
    max_params: MaxParams = None,
    max_size: MaxSize = None,
    max_latency_ms: MaxLatency = None,
    executor: ExecutorName = "local",
    address: Address = None,
    cpus_per_trial: CpusPerTrial = None,
    gpus_per_trial: GpusPerTrial = None,
    max_workers: MaxWorkers = None,
    quiet: Quiet = False,
    dry_run: DryRun = False,
) -> None:
    """Search, confirm, retrain, test once, report and export; run again to continue.

    Example: fmnist-search run quick --trials 20 --set 'dropout={low=0,high=0.3}'
    """
    from search.executors.processes import warm_up

    if not dry_run and executor == "local":
        warm_up()  # before the imports that follow, which take seconds
    from search.job.request import RunRequest

    request = RunRequest(
        *(
            storage,
            study,
            trials,
            minutes,
            sampler,
            pruner,
            workers,
            device,
            data,
            test,
            skip_unreadable,
            or_synthetic,
            name,
            seed,
        ),
        *(tuple(settings or ()), trial_timeout, max_params, max_size, max_latency_ms),
        *(executor, address, cpus_per_trial, gpus_per_trial, max_workers),
    )
    _perform(request, quiet=quiet, dry_run=dry_run)


def _perform(request: "RunRequest", *, quiet: bool, dry_run: bool) -> None:
    quiet_optuna()
    from search.errors import AnotherRunError
    from search.job.interrupt import EXIT_CODE, InterruptedRunError
    from search.job.plan import check_storage, make_plan
    from search.job.progress.display import open_progress
    from search.job.run import carry_out
    from search.job.summary import print_end, print_plan
    from search.report.render import print_report, read_report

    console = Console()
    plan = make_plan(request, lambda text: console.print(text, highlight=False) if not quiet or dry_run else None)
    finished = check_storage(plan) if dry_run else None
    if not quiet or dry_run:
        print_plan(plan, console, finished)
    if dry_run:
        console.print("Nothing was started.")
        return
    try:
        with open_progress(console, quiet=quiet) as progress:
            finished = carry_out(plan, progress)
    except AnotherRunError as error:
        end = f"{error} This run's part is done; `fmnist-search report` with the same --storage shows the result."
        console.print(end, highlight=False, markup=False, soft_wrap=True)
        return
    except InterruptedRunError:
        console.print(
            "Interrupted. What is done is kept, running trials were put back. To continue, give the same command again."
        )
        raise typer.Exit(EXIT_CODE) from None
    print_report(read_report(finished), console)
    print_end(finished, console)
