"""`fmnist-search ablate`: what each regulariser of a study's winner is worth."""

from typing import TYPE_CHECKING, Annotated

import typer

from search.cli.arguments import (
    DEFAULT_STORAGE,
    AsCsv,
    AsJson,
    Data,
    Device,
    Storage,
    StudyName,
    Test,
    opened_study,
    source_of,
)
from search.errors import SearchError
from search.terminal.console import Console

if TYPE_CHECKING:
    from search.job.ablate import Plan

Seeds = Annotated[int, typer.Option(metavar="N", min=1, help="Fresh seeds, the same ones for every variant.")]
Epochs = Annotated[
    int | None, typer.Option(metavar="N", min=1, max=1000, help="Without it as many as the winner had in the search.")
]
Only = Annotated[list[str] | None, typer.Option(metavar="KNOB", help="Switch off only this one; may be repeated.")]
Workers = Annotated[int | None, typer.Option(metavar="W", min=1, help="Trainings side by side; without it one a core.")]


def ablate(
    study: StudyName = None,
    seeds: Seeds = 3,
    epochs: Epochs = None,
    only: Only = None,
    workers: Workers = None,
    device: Device = None,
    data: Data = None,
    test: Test = None,
    storage: Storage = DEFAULT_STORAGE,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """Train a study's winner without each of its regularisers in turn, on validation: what each of them is worth, with
    spread.

    Augmentation, dropout, L2, batch norm, label smoothing, averaged weights. Give it again to go on, or with more
    seeds.

    Example: fmnist-search ablate quick --seeds 3
    """
    if as_json and as_csv:
        raise SearchError("One of --json and --csv may be given, got both. Leave one out.")
    from search.executors.capacity import default_workers
    from search.executors.processes import warm_up

    warm_up()  # before what takes seconds to import
    from fmnist.device import choose_device
    from search.job.ablate import make_plan

    console, opened = Console(stderr=as_json or as_csv), opened_study(study, storage)
    found = choose_device(device)
    plan = make_plan(
        opened,
        source_of(data, test, opened, console),
        found,
        seeds=seeds,
        epochs=epochs,
        only=only or (),
        workers=workers or default_workers(found),
    )
    _perform(plan, console, as_json=as_json, as_csv=as_csv)


def _perform(plan: "Plan", console: Console, *, as_json: bool, as_csv: bool) -> None:
    from search.job.ablate import carry_out
    from search.job.interrupt import EXIT_CODE, InterruptedRunError
    from search.job.progress.display import open_progress
    from search.report.ablation import ablation_answer
    from search.report.lists.answer import to_csv, to_json
    from search.report.render import print_table
    from search.terminal.wording import counted, duration

    trainings = counted(len(plan.variants) * len(plan.seeds), "training")
    console.print(
        f"Trial {plan.trial} of {plan.study.name}, and it without {', '.join(plan.knobs)}: {trainings} of "
        f"{counted(plan.config.epochs, 'epoch')}, about {duration(plan.seconds)} if none is done yet.",
        highlight=False,
    )
    try:
        with open_progress(console, quiet=False) as progress:
            found = carry_out(plan, progress)
    except InterruptedRunError:
        console.print("Interrupted. What is done is kept. To continue, give the same command again.")
        raise typer.Exit(EXIT_CODE) from None
    answer = ablation_answer(found)
    if as_json or as_csv:
        typer.echo(to_json(answer) if as_json else to_csv(answer))
    else:
        for table in answer.tables:
            print_table(table, console)
