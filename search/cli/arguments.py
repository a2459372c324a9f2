"""What the commands have in common: their arguments and options."""

import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from search.cli.completion import study_names
from search.errors import SearchError
from search.terminal.console import Console

if TYPE_CHECKING:
    from fmnist.data.preparation import Preparation
    from fmnist.data.sources import Source
    from search.study.study import Study

StudyName = Annotated[
    str | None,
    typer.Argument(
        metavar="STUDY",
        help="A study's name in the storage; without it the one that ran last.",
        autocompletion=study_names,
    ),
]
Storage = Annotated[
    str,
    typer.Option(
        metavar="URL",
        help="Where studies are kept: sqlite:///FILE, or on a server postgresql+psycopg://... or mysql+pymysql://...",
    ),
]
DATA_FORMS = "CSV, Parquet, npz, a folder of pictures, of tables or of idx files, or 'synthetic'."
Data = Annotated[str | None, typer.Option("--data", metavar="PATH", help=DATA_FORMS)]
Test = Annotated[
    str | None, typer.Option("--test", metavar="PATH", help="The test split, where it is not with the data.")
]
SkipUnreadable = Annotated[
    bool, typer.Option("--skip-unreadable", help="Leave out pictures that cannot be opened, and count them.")
]
Device = Annotated[
    str | None, typer.Option(metavar="D", help="cpu, cuda, cuda:N or mps; without it the fastest present.")
]
Model = Annotated[Path, typer.Argument(metavar="MODEL", help="An exported folder, or a checkpoint.")]
AsJson = Annotated[
    bool, typer.Option("--json", help="Print JSON and nothing else: figures as they are, without units.")
]
AsCsv = Annotated[bool, typer.Option("--csv", help="Print CSV and nothing else: figures as they are, without units.")]
AnyModel = Annotated[
    Path, typer.Argument(metavar="MODEL", help="An exported folder, a checkpoint, or a .onnx file alone.")
]
Formats = Annotated[
    list[str] | None,
    typer.Option(
        "--format", metavar="NAME", help="safetensors, pt2, onnx or onnx-int8; may be repeated; without it all of them."
    ),
]
Port = Annotated[
    int, typer.Option(metavar="PORT", min=1, max=65535, help="Another free one is taken where it is in use.")
]
InBrowser = Annotated[bool, typer.Option("--open", help="Open it in the browser.")]
DEFAULT_STORAGE = "sqlite:///studies/fmnist.db"


def quiet_optuna() -> None:
    """Optuna no longer logs each trial: the commands show progress themselves."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)


def opened_study(study: str | None, storage: str) -> "Study":
    """The study of that name in that storage; without a name the one that ran last."""
    quiet_optuna()
    from search.storage.opening import open_storage
    from search.study.study import load_study

    found = load_study(open_storage(storage, create=False), study)
    if len(found.optuna.directions) > 1:
        raise SearchError(
            f"A study must have one objective, got {len(found.optuna.directions)} in {found.name!r}, which another "
            "program made. Name "
            "another study; `fmnist-search status` lists them."
        )
    return found


def source_of(
    data: str | None,
    test: str | None,
    study: "Study | None",
    console: Console,
    preparation: "Preparation | None" = None,
) -> "Source":
    """The data that were named, else those of the study; cleaned as the study says, and prepared as a model says that
    is to see them.
    """
    from fmnist.data.sources import find_source
    from search.study.records import DataRecord

    kept = study.read(DataRecord) if study else None
    if kept and data is None and test is None:
        data, test = "synthetic" if kept.is_synthetic else kept.path, kept.test_path
    rules = study.spec.cleaning if study else None
    return find_source(
        data,
        test=test,
        rules=rules,
        preparation=preparation,
        announce=lambda text: console.print(text, highlight=False),
    )


def say_address(console: Console, address: str, *, is_moved: bool, in_browser: bool) -> None:
    """Where a page is served stands on the console and, if that is wanted, it is open in the browser."""
    if is_moved:
        console.print("The port is taken, so it is another one.", highlight=False)
    console.print(f"{address}  (Ctrl-C ends it)", highlight=False, soft_wrap=True)
    if in_browser and not webbrowser.open(address):
        console.print("No browser could be opened here; open that address in one.", highlight=False)
