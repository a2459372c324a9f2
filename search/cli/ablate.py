"""`fmnist-search ablate`: what each regulariser of a study's winner is worth."""

from typing import TYPE_CHECKING, Annotated, Unpack

import typer

from search.cli.arguments import AsCsv, AsJson, Data, Storage, StudyName, Test, opened_study, source_of
from search.cli.options import takes
from search.errors import SearchError
from search.job.options import PlaceOptions
from search.study.paths import DEFAULT_STORAGE
from search.terminal.console import Console

if TYPE_CHECKING:
    from search.study.records import Ablation

Seeds = Annotated[int, typer.Option(metavar="N", min=1, help="Fresh seeds, the same ones for every variant.")]
Epochs = Annotated[
    int | None,
    typer.Option(metavar="N", min=1, max=1000, help="Epochs of a training; default those of the winner."),
]
Only = Annotated[
    list[str] | None, typer.Option(metavar="KNOB", help="Switch off only this regulariser; may be repeated.")
]


@takes(PlaceOptions)
def ablate(
    study: StudyName = None,
    seeds: Seeds = 3,
    epochs: Epochs = None,
    only: Only = None,
    data: Data = None,
    test: Test = None,
    storage: Storage = DEFAULT_STORAGE,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
    **options: Unpack[PlaceOptions],
) -> None:
    """Retrain a study's winner without each of its regularisers in turn, and show the effect of each on validation.

    The regularisers: augmentation, flip, shift, erase, mixup, dropout, l2, batch_norm, label_smoothing, ema and
    class_weights, as far as the winner has them. Run it again to resume, or for more seeds.

    Example: fmnist-search ablate auto --seeds 3
    """
    if as_json and as_csv:
        raise SearchError("Only one of --json and --csv may be given, got both. Leave one out.")
    from search.executors.processes import warm_up

    if options.get("executor", "local") == "local":
        warm_up()  # first, because the following imports take seconds
    from search.job import ablate as job
    from search.job.interrupt import EXIT_CODE, InterruptedRunError
    from search.job.place import choose_place
    from search.job.progress.display import open_progress
    from search.terminal.wording import counted, duration

    console, opened = Console(stderr=as_json or as_csv), opened_study(study, storage)
    place, source = choose_place(options), source_of(data, test, opened, console)
    variants = job.choose_variants(opened, source, seeds=seeds, epochs=epochs, only=only or ())
    console.print(
        f"Trial {variants.trial} of {opened.name}, as it is and without {', '.join(variants.knobs)}: "
        f"{counted(len(variants.names) * len(variants.seeds), 'training')} of "
        f"{counted(variants.config.epochs, 'epoch')}, about {duration(variants.seconds(opened, place))} "
        "if none has been done yet.",
        highlight=False,
    )
    try:
        with open_progress(console, quiet=False) as progress:
            ablation = job.ablate(opened, variants, source, place, progress)
    except InterruptedRunError:
        console.print("Interrupted. Results so far are kept. To resume, run the same command again.")
        raise typer.Exit(EXIT_CODE) from None
    _print(ablation, console, as_json=as_json, as_csv=as_csv)


def _print(ablation: "Ablation", console: Console, *, as_json: bool, as_csv: bool) -> None:
    from search.report.ablation import ablation_answer
    from search.report.lists.answer import to_csv, to_json
    from search.report.render import print_table

    answer = ablation_answer(ablation)
    if as_json or as_csv:
        typer.echo(to_json(answer) if as_json else to_csv(answer))
    else:
        for table in answer.tables:
            print_table(table, console)
