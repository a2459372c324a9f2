"""The command line: parse, call one function, print. Heavy modules are imported inside the commands, so that --help
comes at once.
"""

import sys
import webbrowser
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from typer.core import TyperCommand

from fmnist.errors import FmnistError
from search.cli.ablate import ablate
from search.cli.arguments import (
    DATA_FORMS,
    DEFAULT_STORAGE,
    AnyModel,
    AsJson,
    Data,
    Device,
    Formats,
    Model,
    SkipUnreadable,
    Storage,
    StudyName,
    Test,
    opened_study,
    source_of,
)
from search.cli.completion import study_names
from search.cli.dashboard import dashboard
from search.cli.demo import demo
from search.cli.lists import compare, knobs, show, status, trials
from search.cli.run import run
from search.errors import SearchError, StorageLostError
from search.terminal.console import Console, replace_unprintable

CLOSED_PIPE = 141  # 128 and the number of SIGPIPE, as a shell says of any program that it ended
Function = TypeVar("Function", bound=Callable[..., None])

app = typer.Typer(
    help="Hyperparameter search for a Fashion-MNIST classifier whose score can be believed.",
    context_settings={"help_option_names": ["--help", "-h"]},
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


class PlainCommand(TyperCommand):
    """A command whose help names its arguments as the README does, MODEL FILES... for one, with neither braces nor
    types.
    """

    def collect_usage_pieces(self, ctx: Any) -> list[str]:  # noqa: ARG002
        """What follows the command's name in a line of usage; brackets are around what may be left out."""
        arguments = [param for param in self.params if param.param_type_name == "argument"]
        return ["[OPTIONS]", *(str(one.metavar) if one.required else f"[{one.metavar}]" for one in arguments)]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """The help has a section of arguments, where there are any, and one of options."""
        for kind, title in (("argument", "Arguments"), ("option", "Options")):
            params = [param for param in self.get_params(ctx) if param.param_type_name == kind]
            found = [(param, record) for param in params if (record := param.get_help_record(ctx))]
            if found:
                with formatter.section(title):
                    formatter.write_dl(
                        [(param.metavar if kind == "argument" else name, says) for param, (name, says) in found]
                    )


def main() -> None:
    """Runs the command line.

    Exit codes: 0 done, 1 the storage was lost, 2 a user's error in one clean message, 130 interrupted, 141 nobody reads
    on.
    """
    replace_unprintable()
    try:
        _require_values(sys.argv[1:])
        app()
    except FmnistError as error:
        Console(stderr=True).print(f"Error: {error}", style="red", markup=False, highlight=False, soft_wrap=True)
        sys.exit(1 if isinstance(error, StorageLostError) else 2)
    except SystemExit as end:
        # Where a reader such as `head` has gone, both Typer and Rich end with 1, which here says that the storage was
        # lost.
        if isinstance(end.__context__, BrokenPipeError):
            sys.exit(CLOSED_PIPE)
        raise


def _require_values(words: list[str]) -> None:
    """Nothing that was given is empty: it would count as not given.

    Raises: SearchError.
    """
    for before, word in zip(["", *words], words, strict=False):
        name = before if before.startswith("-") else "an argument"
        if word == "":
            raise SearchError(
                f"A value must not be empty, got '' for {name}. Give "
                f"one{'' if name == 'an argument' else f', or leave {name} out'}."
            )
        if word.startswith("--") and word.endswith("="):
            raise SearchError(f"A value must not be empty, got {word!r}. Give one, or leave {word[:-1]} out.")


def _print_version(is_asked: bool) -> None:
    if is_asked:
        from importlib.metadata import version

        typer.echo(f"fmnist-search {version('fmnist-search')}")
        raise typer.Exit


@app.callback()
def _begin(
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


def _command(in_brief: str, name: str | None = None) -> Callable[[Function], Function]:
    """A command of the application; `in_brief` is what the list of all commands says of it, on one line of a narrow
    terminal.
    """
    return app.command(name, cls=PlainCommand, short_help=in_brief)


_command("Search, confirm, retrain, test once, export.")(run)
_command("List the studies and how far each has come.")(status)
_command("List a study's trials, sorted and picked.")(trials)
_command("Show one trial whole, epoch by epoch.")(show)
_command("Compare finished studies on the test images.")(compare)
_command("List what can be searched, and what it means.")(knobs)
_command("Serve optuna-dashboard on the studies.")(dashboard)
_command("Train the winner without each regulariser.")(ablate)
_command("Try a model by hand on a local page.")(demo)


@_command("Print a study's report, and write it to files.")
def report(
    study: StudyName = None,
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Write the report with figures as one page there.")
    ] = None,
    in_browser: Annotated[
        bool, typer.Option("--open", help="Open that page in the browser; without --html it is in the study's folder.")
    ] = False,
    storage: Storage = DEFAULT_STORAGE,
    as_json: AsJson = False,
) -> None:
    """Print a study's report and write it as Markdown and JSON into the study's folder; with figures as one HTML page.

    Example: fmnist-search report quick --html quick.html
    """
    from search.report.render import print_report, read_report, to_json, write_report
    from search.study.ownership import require_own_folder

    opened, console = opened_study(study, storage), Console(stderr=as_json)
    require_own_folder(opened)
    found = read_report(opened)
    if as_json:
        typer.echo(to_json(found), nl=False)
    else:
        print_report(found, console)
    written = [*write_report(found, opened.folder)]
    if html or in_browser:
        from search.report.page.html import PAGE, write_page

        written.append(write_page(opened, html or opened.folder / PAGE))
    console.print(f"Written: {', '.join(str(path) for path in written)}", highlight=False)
    if in_browser and not webbrowser.open(written[-1].absolute().as_uri()):
        console.print("No browser could be opened here; open the last of these files in one.", highlight=False)


@_command("Write a study's final model as files.")
def export(
    study: StudyName = None,
    to: Annotated[
        Path, typer.Option("--to", metavar="DIR", help="Folder to write; replaced if it is an earlier export.")
    ] = Path("model"),
    formats: Formats = None,
    data: Data = None,
    test: Test = None,
    storage: Storage = DEFAULT_STORAGE,
) -> None:
    """Write a study's final model as safetensors, ONNX (also in int8) and torch.export, each checked against PyTorch
    and timed.

    Example: fmnist-search export quick --to model --format onnx --format onnx-int8
    """
    from search.export.formats import chosen

    files = chosen(formats or [])  # first: what follows takes seconds to import
    from search.job.export import export_study

    opened, console = opened_study(study, storage), Console()
    written = export_study(
        opened, source_of(data, test, opened, console), to, lambda text: console.print(text, highlight=False), files
    )
    console.print(f"Exported to {written.folder} in {written.seconds:.0f} s.", highlight=False)


@_command("Name the garment in each picture.")
def predict(
    model: AnyModel,
    files: Annotated[list[Path], typer.Argument(metavar="FILES...", help="Pictures of any format, colour and size.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    device: Device = None,
) -> None:
    """Name the garment in each picture: the three likeliest classes with their probabilities.

    Example: fmnist-search predict model shoe.jpg shirt.png
    """
    import json

    import numpy as np

    from fmnist.classifier import load_classifier, top
    from search.terminal.wording import visible

    classifier = load_classifier(model, device)
    if classifier.data == "synthetic":
        typer.echo("Note: this model was trained on synthetic images; it does not know real garments.", err=True)
    rows = classifier.probabilities(np.stack([classifier.read(file) for file in files]))
    found = [(file, top(row, classifier.class_names)) for file, row in zip(files, rows, strict=True)]
    if as_json:
        named = [
            {"file": str(file), "predictions": [{"label": name, "probability": p} for name, p in best]}
            for file, best in found
        ]
        typer.echo(json.dumps(named, indent=2))
        return
    for file, best in found:
        typer.echo(visible(f"{file}: ") + ", ".join(f"{name} {probability:.1%}" for name, probability in best))


@_command("Score a model on a test split.")
def evaluate(
    model: Model,
    data: Data = None,
    test: Test = None,
    device: Device = None,
    study: Annotated[
        str | None,
        typer.Option(
            metavar="STUDY", help="The study that made the model, where it does not say so.", autocompletion=study_names
        ),
    ] = None,
    storage: Storage = DEFAULT_STORAGE,
) -> None:
    """Score a model on the test split of a data set, which its study records. Not for choosing between models: that is
    for validation.

    Example: fmnist-search evaluate model --data synthetic
    """
    from fmnist.checkpoint import load_checkpoint
    from fmnist.device import choose_device
    from search.job.evaluation import evaluate_model, study_of

    console, checkpoint = Console(), load_checkpoint(model)
    named = opened_study(study, storage) if study else None
    made_by = study_of(model, checkpoint, storage)
    source = source_of(data, test, named or made_by.study, console, checkpoint.preparation)
    scores, (low, high), notes = evaluate_model(
        model,
        checkpoint,
        source,
        made_by,
        named,
        choose_device(device),
        lambda text: console.print(text, highlight=False),
    )
    console.print(
        f"Macro F1 {scores.macro_f1:.4f}, 95 % interval {low:.4f} to {high:.4f} (bootstrap over test images)",
        highlight=False,
    )
    for name, f1, support in zip(checkpoint.class_names, scores.f1, scores.support, strict=True):
        console.print(f"  {name:<12} F1 {f1:.4f}  {support} images", highlight=False)
    for note in notes:
        console.print(note, highlight=False, markup=False, soft_wrap=True)


@_command("Show what cleaning finds in a data set.", "data")
def show_data(
    path: Annotated[str, typer.Argument(metavar="PATH", help=DATA_FORMS)],
    test: Test = None,
    study: Annotated[
        str | None, typer.Option(metavar="STUDY", help="The study, or its TOML, whose cleaning rules are used.")
    ] = None,
    skip_unreadable: SkipUnreadable = False,
    sheet: Annotated[
        Path | None,
        typer.Option("--sheet", metavar="FILE", help="The picture sheet. Without --json data-sheet.png, with it none."),
    ] = None,
    save: Annotated[
        Path | None, typer.Option("--save", metavar="DIR", help="Write the cleaned images there, for --data.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Show what cleaning finds in a data set: a table, the classes, the pixels, and a sheet of pictures.

    Example: fmnist-search data shop.csv --save cleaned
    """
    from search.job.inspection import inspect_data, print_inspection, write_files

    progress = Console(stderr=as_json)
    found = inspect_data(path, test, study, skip_unreadable, lambda text: progress.print(text, highlight=False))
    if as_json:
        typer.echo(found.to_json())
    else:
        print_inspection(found, progress)
    for written in write_files(found, sheet or (None if as_json else Path("data-sheet.png")), save):
        progress.print(f"Written: {written}", highlight=False)


@_command("Print the winning configuration as TOML.")
def best(study: StudyName = None, storage: Storage = DEFAULT_STORAGE) -> None:
    """Print the winning configuration as a study's TOML, which `run` accepts.

    Example: fmnist-search best quick > mine.toml
    """
    from search.study.winner import winning_spec

    typer.echo(winning_spec(opened_study(study, storage)).to_toml(), nl=False)
