"""`fmnist-search delete`: delete a study and its folder."""

import sys
from typing import Annotated

import typer

from search.cli.arguments import Storage, quiet_optuna
from search.cli.completion import study_names
from search.errors import SearchError
from search.study.paths import DEFAULT_STORAGE
from search.terminal.console import Console


def delete(
    study: Annotated[
        str, typer.Argument(metavar="STUDY", help="A study's name in the storage.", autocompletion=study_names)
    ],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    storage: Storage = DEFAULT_STORAGE,
) -> None:
    """Delete a study from its storage, and its folder with checkpoints, report and export. Says what, and asks.

    Example: fmnist-search delete quick-synthetic
    """
    quiet_optuna()
    from search.job.delete import prepared_deletion
    from search.storage.opening import open_storage

    console = Console()
    with prepared_deletion(open_storage(storage, create=False), study) as deletion:
        for line in deletion.contents():
            console.print(line, highlight=False, markup=False, soft_wrap=True)
        if not yes and not _is_wanted():
            console.print("Nothing was deleted.")
            return
        deletion.carry_out()
    console.print("Deleted.")


def _is_wanted() -> bool:
    if not sys.stdin.isatty():
        raise SearchError("Deleting a study cannot be undone, and there is no terminal on which to ask. Give --yes.")
    from search.job.interrupt import EXIT_CODE

    try:
        return typer.confirm("Delete this? It cannot be undone.")
    except typer.Abort:
        typer.echo("\nNothing was deleted.")
        raise typer.Exit(EXIT_CODE) from None
