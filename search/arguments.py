"""What the commands have in common: their arguments and options."""

from pathlib import Path
from typing import Annotated

import typer

from search.completion import study_names

StudyName = Annotated[
    str | None,
    typer.Argument(metavar="STUDY", help="A study's name in the storage; without it the one that ran last.", autocompletion=study_names),
]
Storage = Annotated[str, typer.Option(metavar="URL", help="Where studies are kept: any SQLAlchemy URL.")]
Data = Annotated[str | None, typer.Option("--data", metavar="PATH", help="CSV, Parquet, npz, folder of pictures, or 'synthetic'.")]
Test = Annotated[str | None, typer.Option("--test", metavar="PATH", help="The test split, where it is not with the data.")]
SkipUnreadable = Annotated[bool, typer.Option("--skip-unreadable", help="Leave out pictures that cannot be opened, and count them.")]
Device = Annotated[str | None, typer.Option(metavar="D", help="cpu, cuda, cuda:N or mps; without it the fastest present.")]
Model = Annotated[Path, typer.Argument(metavar="MODEL", help="An exported folder, or a checkpoint.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else: figures as they are, without units.")]
AsCsv = Annotated[bool, typer.Option("--csv", help="Print CSV and nothing else: figures as they are, without units.")]
AnyModel = Annotated[Path, typer.Argument(metavar="MODEL", help="An exported folder, a checkpoint, or a .onnx file alone.")]
Formats = Annotated[
    list[str] | None,
    typer.Option("--format", metavar="NAME", help="safetensors, pt2, onnx or onnx-int8; may be repeated; without it all of them."),
]
DEFAULT_STORAGE = "sqlite:///studies/fmnist.db"


def quiet_optuna() -> None:
    """Optuna no longer logs each trial: the commands show progress themselves."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
