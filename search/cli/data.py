"""`fmnist-search data`: what cleaning finds in a data set."""

from pathlib import Path
from typing import Annotated

import typer

from search.cli.arguments import DATA_FORMS, SkipUnreadable, Test
from search.terminal.console import Console


def show_data(
    path: Annotated[str, typer.Argument(metavar="PATH", help=DATA_FORMS)],
    test: Test = None,
    study: Annotated[
        str | None, typer.Option(metavar="STUDY", help="The study, or its TOML, whose cleaning rules are used.")
    ] = None,
    skip_unreadable: SkipUnreadable = False,
    sheet: Annotated[
        Path | None,
        typer.Option("--sheet", metavar="FILE", help="The picture sheet; default data-sheet.png, with --json none."),
    ] = None,
    save: Annotated[
        Path | None, typer.Option("--save", metavar="DIR", help="Write the cleaned images to this folder, for --data.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Show what cleaning finds in a data set: its effects, the classes, the pixels, and a sheet of pictures.

    Example: fmnist-search data shop.csv --save cleaned
    """
    from search.job.inspection import inspect_data, print_inspection, write_files

    progress = Console(stderr=as_json)
    inspection = inspect_data(path, test, study, skip_unreadable, lambda text: progress.print(text, highlight=False))
    if as_json:
        typer.echo(inspection.to_json())
    else:
        print_inspection(inspection, progress)
    for file in write_files(inspection, sheet or (None if as_json else Path("data-sheet.png")), save):
        progress.print(f"Written: {file}", highlight=False)
