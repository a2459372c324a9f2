"""`fmnist-search enqueue`: have configurations tried next."""

from pathlib import Path
from typing import Annotated

import typer

from search.cli.arguments import Storage, opened_study
from search.cli.completion import study_names
from search.errors import SearchError
from search.study.paths import DEFAULT_STORAGE
from search.terminal.console import Console


def enqueue(
    study: Annotated[
        str, typer.Argument(metavar="STUDY", help="A study's name in the storage.", autocompletion=study_names)
    ],
    settings: Annotated[
        list[str] | None,
        typer.Argument(metavar="KNOB=VALUE...", help="A configuration; the search adds the rest."),
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option("--file", metavar="FILE.toml", help="Several: configs = [{ filters = 32 }, ...]."),
    ] = None,
    storage: Storage = DEFAULT_STORAGE,
) -> None:
    """Have a configuration tried next, also while a run is at work. It counts in the study's budget.

    Example: fmnist-search enqueue auto filters=48 dropout=0.1
    """
    from search.job import enqueue as job
    from search.terminal.wording import counted

    configs = [job.read_config(settings)] if settings else []
    configs += job.read_configs(file) if file else []
    if not configs:
        raise SearchError("Name what to try: fmnist-search enqueue STUDY KNOB=VALUE..., or --file FILE.toml.")
    numbers, is_over = job.enqueue(opened_study(study, storage), configs)
    told = f"{counted(len(numbers), 'configuration')} will be tried next: trial {', '.join(map(str, numbers))}."
    if is_over:
        told += " The study's budget is used up: run it with more --trials or --search-minutes."
    Console().print(told, highlight=False, soft_wrap=True)
