"""The command line: parse, call one function, print. Commands import heavy modules inside, to keep --help fast."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from typer.core import TyperCommand

from fmnist.errors import FmnistError
from search.cli.ablate import ablate
from search.cli.arguments import (
    AsJson,
    Data,
    Formats,
    Storage,
    StudyName,
    Test,
    opened_study,
    show_page,
    source_of,
)
from search.cli.dashboard import dashboard
from search.cli.data import show_data
from search.cli.delete import delete
from search.cli.demo import demo
from search.cli.enqueue import enqueue
from search.cli.lists import compare, knobs, show, status, trials
from search.cli.models import evaluate, predict
from search.cli.rename import rename
from search.cli.run import run
from search.errors import SearchError, StorageLostError
from search.study.paths import DEFAULT_STORAGE
from search.study.shipped import shipped_studies
from search.terminal.console import Console, replace_unprintable

CLOSED_PIPE = 141  # 128 + SIGPIPE, as a shell reports a program that the signal ended
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
    """A command whose help names its arguments as the README does, such as MODEL FILES..., without braces or types."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:  # noqa: ARG002
        """Return the parts of the usage line after the command's name, with brackets around optional arguments."""
        arguments = [param for param in self.params if param.param_type_name == "argument"]
        return ["[OPTIONS]", *(str(param.metavar) if param.required else f"[{param.metavar}]" for param in arguments)]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the help's sections of arguments, if there are any, and options."""
        for kind, title in (("argument", "Arguments"), ("option", "Options")):
            params = [param for param in self.get_params(ctx) if param.param_type_name == kind]
            records = [(param, record) for param in params if (record := param.get_help_record(ctx))]
            if records:
                with formatter.section(title):
                    formatter.write_dl(
                        [(param.metavar if kind == "argument" else name, text) for param, (name, text) in records]
                    )


def main() -> None:
    """Run the command line.

    Exit codes: 0 done, 1 the storage was lost, 2 a user's error with one message, 130 interrupted, 141 closed pipe.
    """
    replace_unprintable()
    try:
        _require_values(sys.argv[1:])
        app()
    except FmnistError as error:
        Console(stderr=True).print(f"Error: {error}", style="red", markup=False, highlight=False, soft_wrap=True)
        sys.exit(1 if isinstance(error, StorageLostError) else 2)
    except SystemExit as end:
        # When a reader such as `head` has closed the pipe, Typer and Rich exit with 1, which here means a lost storage.
        if isinstance(end.__context__, BrokenPipeError):
            sys.exit(CLOSED_PIPE)
        raise


def _require_values(words: list[str]) -> None:
    """Raise SearchError if a value is empty, which would count as absent."""
    for previous, word in zip(["", *words], words, strict=False):
        name = previous if previous.startswith("-") else "an argument"
        if word == "":
            raise SearchError(
                f"A value must not be empty, got '' for {name}. Give a "
                f"value{'' if name == 'an argument' else f', or leave {name} out'}."
            )
        if word.startswith("--") and word.endswith("="):
            raise SearchError(f"A value must not be empty, got {word!r}. Give a value, or leave {word[:-1]} out.")


def _print_version(is_requested: bool) -> None:
    if is_requested:
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


def _command(summary: str, name: str | None = None) -> Callable[[Function], Function]:
    """Register a command; `summary` describes it in the list of commands, on one line of a narrow terminal."""
    return app.command(name, cls=PlainCommand, short_help=summary)


def report(
    study: StudyName = None,
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Write the report with figures to one HTML page.")
    ] = None,
    in_browser: Annotated[
        bool, typer.Option("--open", help="Open the page in the browser; without --html it is in the study's folder.")
    ] = False,
    storage: Storage = DEFAULT_STORAGE,
    as_json: AsJson = False,
) -> None:
    """Print a study's report and write it to the study's folder as Markdown and JSON, or with figures as an HTML page.

    Example: fmnist-search report auto --html auto.html
    """
    from search.report.render import print_report, read_report, to_json, write_report
    from search.study.ownership import require_own_folder

    opened, console = opened_study(study, storage), Console(stderr=as_json)
    require_own_folder(opened)
    facts = read_report(opened)
    if as_json:
        typer.echo(to_json(facts), nl=False)
    else:
        print_report(facts, console)
    written = [*write_report(facts, opened.folder)]
    if html or in_browser:
        from search.report.page.html import PAGE, write_page

        written.append(write_page(opened, html or opened.folder / PAGE))
    console.print(f"Written: {', '.join(str(path) for path in written)}", highlight=False)
    if in_browser:
        show_page(written[-1], console)


def export(
    study: StudyName = None,
    to: Annotated[
        Path | None,
        typer.Option(
            "--to",
            metavar="DIR",
            help="Folder to write, replaced if it is an earlier export; default model, or ensemble in the study's "
            "folder.",
        ),
    ] = None,
    formats: Formats = None,
    ensemble: Annotated[
        bool, typer.Option("--ensemble", help="Write the networks of all final seeds as one ONNX file instead.")
    ] = False,
    point: Annotated[
        int | None, typer.Option("--point", metavar="TRIAL", help="Write the model of this point of the study's front.")
    ] = None,
    data: Data = None,
    test: Test = None,
    storage: Storage = DEFAULT_STORAGE,
) -> None:
    """Write a study's final model as safetensors, ONNX (also int8) and torch.export, each checked against PyTorch.

    Example: fmnist-search export auto --to model --format onnx --format onnx-int8
    """
    from search.export.formats import select_files

    files = select_files(formats or [])  # first, because the following imports take seconds
    for name, value in (("--format", formats), ("--point", point)):
        if ensemble and value not in (None, []):
            raise SearchError(f"--ensemble writes one ONNX file of the winner, got {name} as well. Leave one out.")
    from search.job.export import export_ensemble_of, export_study, preparation_of

    opened, console = opened_study(study, storage), Console()
    source = source_of(data, test, opened, console, preparation_of(opened))

    def announce(text: str) -> None:
        console.print(text, highlight=False)

    if ensemble:
        written = export_ensemble_of(opened, source, to or opened.folder / "ensemble", announce)
    else:
        written = export_study(opened, source, to or Path("model"), announce, files, point)
    console.print(f"Exported to {written.folder} in {written.seconds:.0f} s.", highlight=False)


def best(
    study: StudyName = None,
    storage: Storage = DEFAULT_STORAGE,
    max_params: Annotated[
        int | None, typer.Option("--max-params", metavar="N", min=1, help="Of the networks with at most N parameters.")
    ] = None,
    max_size: Annotated[
        int | None, typer.Option("--max-size", metavar="BYTES", min=1, help="Of those whose weights have so many.")
    ] = None,
    max_flops: Annotated[
        int | None, typer.Option("--max-flops", metavar="N", min=1, help="Of those with at most N operations an image.")
    ] = None,
    max_latency_ms: Annotated[
        float | None,
        typer.Option(
            "--max-latency-ms", metavar="MS", min=0.001, help="Of those so fast, in a study against latency_ms."
        ),
    ] = None,
) -> None:
    """Print the winning configuration as a study's TOML, which `run` accepts: what differs from the defaults.

    Example: fmnist-search best auto --max-params 50000 > mine.toml
    """
    from search.study.sections import LimitsSection
    from search.study.winner import spec_within, winning_spec

    opened = opened_study(study, storage)
    limits = LimitsSection(max_params=max_params, max_size=max_size, max_flops=max_flops, max_latency_ms=max_latency_ms)
    spec = winning_spec(opened) if limits == LimitsSection() else spec_within(opened, limits)
    typer.echo(spec.to_toml(is_short=True), nl=False)


def new(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The study file to write, such as mine.toml.")],
    base: Annotated[
        str,
        typer.Option(
            "--from",
            metavar="STUDY",
            help="The shipped study or TOML file that it is based on.",
            autocompletion=shipped_studies,
        ),
    ] = "auto",
) -> None:
    """Write a study file based on another, with every setting, its value there and its range as comments.

    Example: fmnist-search new mine.toml --from quick
    """
    from search.study.template import write_template

    write_template(file, base)
    Console().print(f"Written: {file}. Next: fmnist-search run {file} --dry-run", highlight=False, soft_wrap=True)


_command("Search, confirm, retrain, test once, export.")(run)
_command("Write a study file to change.")(new)
_command("Have a configuration tried next.")(enqueue)
_command("Give a study another name.")(rename)
_command("Delete a study and its folder.")(delete)
_command("List the studies and how far each has come.")(status)
_command("List a study's trials, sorted and picked.")(trials)
_command("Show one trial whole, epoch by epoch.")(show)
_command("Compare finished studies on the test images.")(compare)
_command("List what can be searched, and what it means.")(knobs)
_command("Serve optuna-dashboard on the studies.")(dashboard)
_command("Train the winner without each regulariser.")(ablate)
_command("Try a model by hand on a local page.")(demo)
_command("Print a study's report, and write it to files.")(report)
_command("Write a study's final model as files.")(export)
_command("Name the class of each picture.")(predict)
_command("Score a model on a test split.")(evaluate)
_command("Show what cleaning finds in a data set.", "data")(show_data)
_command("Print the winning configuration as TOML.")(best)
