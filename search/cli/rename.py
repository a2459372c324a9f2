"""`fmnist-search rename`: give a study another name."""

from typing import Annotated

import typer

from search.cli.arguments import Storage, quiet_optuna
from search.cli.completion import study_names
from search.study.paths import DEFAULT_STORAGE
from search.terminal.console import Console


def rename(
    study: Annotated[
        str, typer.Argument(metavar="STUDY", help="A study's name in the storage.", autocompletion=study_names)
    ],
    new: Annotated[str, typer.Argument(metavar="NEW", help="Its new name, which no other study or folder has.")],
    storage: Storage = DEFAULT_STORAGE,
) -> None:
    """Give a study another name, in its storage, its folder, its report and the dashboard.

    Example: fmnist-search rename quick-synthetic first
    """
    quiet_optuna()
    from search.job.rename import rename as renamed
    from search.storage.opening import open_storage

    found, notes = renamed(open_storage(storage, create=False), study, new)
    console = Console()
    for line in (f"The study {study!r} is now {found.name!r}.", *notes):
        console.print(line, highlight=False, soft_wrap=True)
