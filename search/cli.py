"""The command line: parse, call one function, print. Heavy modules are imported inside the commands, so that --help comes at once."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fmnist.errors import FmnistError
from search.terminal import Console

if TYPE_CHECKING:
    import optuna

    from fmnist.data.sources import Source
    from search.run import RunRequest

app = typer.Typer(
    help="Hyperparameter search for a Fashion-MNIST classifier whose score can be believed.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

StudyName = Annotated[str | None, typer.Argument(metavar="STUDY", help="A study's name in the storage; without it the one that ran last.")]
Storage = Annotated[str, typer.Option(metavar="URL", help="Where studies are kept: any SQLAlchemy URL.")]
Data = Annotated[str | None, typer.Option("--data", metavar="PATH", help="CSV, Parquet, npz, folder of pictures, or 'synthetic'.")]
Test = Annotated[str | None, typer.Option("--test", metavar="PATH", help="The test split, where it is not with the data.")]
SkipUnreadable = Annotated[bool, typer.Option("--skip-unreadable", help="Leave out pictures that cannot be opened, and count them.")]
Device = Annotated[str | None, typer.Option(metavar="D", help="cpu, cuda, cuda:N or mps; without it the fastest present.")]
Model = Annotated[Path, typer.Argument(metavar="MODEL", help="An exported folder, or a checkpoint.")]
DEFAULT_STORAGE = "sqlite:///studies/fmnist.db"


def main() -> None:
    """Runs the command line. Exit codes: 0 done, 2 a user's error in one clean message, 130 interrupted."""
    try:
        app()
    except FmnistError as error:
        Console(stderr=True).print(f"Error: {error}", style="red", markup=False, highlight=False, soft_wrap=True)
        sys.exit(2)


@app.command()
def run(
    study: Annotated[str | None, typer.Argument(metavar="STUDY", help="A shipped study or a TOML file; without it: quick.")] = None,
    trials: Annotated[int | None, typer.Option(metavar="N", min=1, help="Trials of the study in all, over all its runs.")] = None,
    minutes: Annotated[float | None, typer.Option(metavar="M", min=0.01, help="Minutes of search in all, over all its runs.")] = None,
    workers: Annotated[int | None, typer.Option(metavar="W", min=1, help="Trainings side by side; without it one a core.")] = None,
    device: Device = None,
    data: Data = None,
    test: Test = None,
    skip_unreadable: SkipUnreadable = False,
    or_synthetic: Annotated[
        bool, typer.Option("--or-synthetic", help="Where Fashion-MNIST cannot be had, show the job on drawn images.")
    ] = False,
    storage: Storage = DEFAULT_STORAGE,
    name: Annotated[str | None, typer.Option(metavar="NAME", help="Name of the study, for a second one of the same kind.")] = None,
    seed: Annotated[int | None, typer.Option(metavar="S", min=0, help="Seed of the search and its trainings.")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KNOB=VALUE", help="Pin or narrow a knob; may be repeated.")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print the result only.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check everything, show the plan and its cost, start nothing.")] = False,
) -> None:
    """Search, confirm, retrain, test once, report and export; run again to continue.

    Example: fmnist-search run quick --trials 20 --set batch_norm=true
    """
    from search.executors.processes import warm_up

    if not dry_run:
        warm_up()  # before the next line, which takes seconds
    from search.run import RunRequest

    request = RunRequest(
        storage, study, trials, minutes, workers, device, data, test, skip_unreadable, or_synthetic, name, seed, tuple(settings or ())
    )
    _perform(request, quiet=quiet, dry_run=dry_run)


@app.command()
def report(study: StudyName = None, storage: Storage = DEFAULT_STORAGE) -> None:
    """Print a study's report and write it as Markdown and JSON into the study's folder.

    Example: fmnist-search report quick
    """
    from search.report import print_report, read_report, write_report
    from search.study import study_folder

    opened, console = _open(study, storage), Console()
    found = read_report(opened)
    print_report(found, console)
    written = write_report(found, study_folder(opened.study_name))
    console.print(f"Written: {', '.join(str(path) for path in written)}", highlight=False)


@app.command()
def export(
    study: StudyName = None,
    to: Annotated[Path, typer.Option("--to", metavar="DIR", help="Folder to write; replaced if it is an earlier export.")] = Path("model"),
    data: Data = None,
    test: Test = None,
    storage: Storage = DEFAULT_STORAGE,
) -> None:
    """Write a study's final model as safetensors, ONNX and torch.export, each checked against PyTorch.

    Example: fmnist-search export quick --to model
    """
    from search.run import export_study

    opened, console = _open(study, storage), Console()
    written = export_study(opened, _source(data, test, opened, console), to, lambda text: console.print(text, highlight=False))
    console.print(f"Exported to {written.folder} in {written.seconds:.0f} s.", highlight=False)


@app.command()
def predict(
    model: Model,
    files: Annotated[list[Path], typer.Argument(metavar="FILES...", help="Pictures of any format, colour and size.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    device: Device = None,
) -> None:
    """Name the garment in each picture: the three likeliest classes with their probabilities.

    Example: fmnist-search predict model shoe.jpg shirt.png
    """
    import json

    import numpy as np

    from fmnist.checkpoint import load_checkpoint
    from fmnist.device import choose_device
    from fmnist.predict import picture_reader, top
    from fmnist.predict import predict as probabilities_of
    from search.wording import visible

    checkpoint = load_checkpoint(model)
    if checkpoint.origin.get("data") == "synthetic":
        typer.echo("Note: this model was trained on synthetic images; it does not know real garments.", err=True)
    read = picture_reader(checkpoint)
    rows = probabilities_of(checkpoint, np.stack([read(file) for file in files]), choose_device(device))
    found = [(file, top(row, checkpoint.class_names)) for file, row in zip(files, rows, strict=True)]
    if as_json:
        named = [{"file": str(file), "predictions": [{"label": name, "probability": p} for name, p in best]} for file, best in found]
        typer.echo(json.dumps(named, indent=2))
        return
    for file, best in found:
        typer.echo(visible(f"{file}: ") + ", ".join(f"{name} {probability:.1%}" for name, probability in best))


@app.command()
def evaluate(
    model: Model,
    data: Data = None,
    test: Test = None,
    device: Device = None,
    study: Annotated[
        str | None, typer.Option(metavar="STUDY", help="The study that made the model; the opening is recorded there.")
    ] = None,
    storage: Storage = DEFAULT_STORAGE,
) -> None:
    """Score a model on the test split of a data set. Not for choosing between models: that is what validation is for.

    Example: fmnist-search evaluate model --data synthetic
    """
    from fmnist.checkpoint import load_checkpoint
    from fmnist.device import choose_device
    from search.finalize import evaluate as score_on_test

    console, checkpoint = Console(), load_checkpoint(model)
    opened = _open(study, storage) if study else None
    scores, (low, high) = score_on_test(checkpoint, _source(data, test, opened, console), opened, choose_device(device))
    console.print(f"Macro F1 {scores.macro_f1:.4f}, 95 % interval {low:.4f} to {high:.4f} (bootstrap over test images)", highlight=False)
    for name, f1, support in zip(checkpoint.class_names, scores.f1, scores.support, strict=True):
        console.print(f"  {name:<12} F1 {f1:.4f}  {support} images", highlight=False)


@app.command("data")
def show_data(
    path: Annotated[str, typer.Argument(metavar="PATH", help="CSV, Parquet, npz, folder of pictures, or 'synthetic'.")],
    test: Test = None,
    study: Annotated[str | None, typer.Option(metavar="STUDY", help="The study, or its TOML, whose cleaning rules are used.")] = None,
    skip_unreadable: SkipUnreadable = False,
    sheet: Annotated[Path, typer.Option("--sheet", metavar="FILE", help="Where the picture sheet goes.")] = Path("data-sheet.png"),
    save: Annotated[Path | None, typer.Option("--save", metavar="DIR", help="Write the cleaned images there, for --data.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Show what cleaning finds in a data set: a table, the classes, the pixels, and a sheet of pictures.

    Example: fmnist-search data shop.csv --save cleaned
    """
    from search.inspection import inspect_data, print_inspection, write_files

    progress = Console(stderr=as_json)
    found = inspect_data(path, test, study, skip_unreadable, lambda text: progress.print(text, highlight=False))
    if as_json:
        typer.echo(found.to_json())
    else:
        print_inspection(found, progress)
    for written in write_files(found, sheet, save):
        progress.print(f"Written: {written}", highlight=False)


@app.command()
def status(storage: Storage = DEFAULT_STORAGE) -> None:
    """List the studies with their progress, best validation value and final score.

    Example: fmnist-search status
    """
    from search.status import print_status
    from search.study import load_study, open_storage, storage_names

    opened = open_storage(storage, create=False)
    print_status([load_study(opened, name) for name in storage_names(opened)], Console())


@app.command()
def best(study: StudyName = None, storage: Storage = DEFAULT_STORAGE) -> None:
    """Print the winning configuration as a study's TOML, which `run` accepts.

    Example: fmnist-search best quick > mine.toml
    """
    from search.run import winning_spec

    typer.echo(winning_spec(_open(study, storage)).to_toml(), nl=False)


@app.command()
def dashboard(
    storage: Storage = DEFAULT_STORAGE,
    port: Annotated[int, typer.Option(metavar="PORT", min=1, max=65535)] = 8080,
) -> None:
    """Serve optuna-dashboard on the studies, on this machine only: it has no login and can delete.

    Example: fmnist-search dashboard --port 8080
    """
    from optuna_dashboard import run_server

    from search.study import open_storage

    opened = open_storage(storage, create=False)
    typer.echo(f"http://127.0.0.1:{port}/  (Ctrl-C ends it)")
    run_server(opened, host="127.0.0.1", port=port)


def _perform(request: "RunRequest", *, quiet: bool, dry_run: bool) -> None:
    _quiet_optuna()
    from search.interrupt import EXIT_CODE, InterruptedRunError
    from search.progress import open_progress
    from search.report import print_report, read_report
    from search.run import carry_out, check_storage, make_plan
    from search.summary import print_end, print_plan

    console = Console()
    plan = make_plan(request, lambda text: console.print(text, highlight=False) if not quiet or dry_run else None)
    if not quiet or dry_run:
        print_plan(plan, console)
    if dry_run:
        check_storage(plan)
        console.print("Nothing was started.")
        return
    try:
        with open_progress(console, quiet=quiet) as progress:
            finished = carry_out(plan, progress)
    except InterruptedRunError:
        console.print("Interrupted. What is done is kept, running trials were put back. To continue, give the same command again.")
        raise typer.Exit(EXIT_CODE) from None
    print_report(read_report(finished), console)
    print_end(finished, console)


def _open(study: str | None, storage: str) -> "optuna.Study":
    _quiet_optuna()
    from search.study import load_study, open_storage

    return load_study(open_storage(storage, create=False), study)


def _source(data: str | None, test: str | None, study: "optuna.Study | None", console: Console) -> "Source":
    """The data that were named, else those of the study; cleaned as the study says."""
    from fmnist.data.sources import find_source
    from search.records import DataRecord
    from search.study import read, study_spec

    kept = read(study, "data", DataRecord) if study else None
    if kept and data is None and test is None:
        data, test = "synthetic" if kept.is_synthetic else kept.path, kept.test_path
    rules = study_spec(study).cleaning if study else None
    return find_source(data, test=test, rules=rules, announce=lambda text: console.print(text, highlight=False))


def _quiet_optuna() -> None:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
