"""Arguments, options and functions that several commands share."""

import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from search.cli.completion import study_names
from search.errors import SearchError
from search.study.paths import HOME
from search.terminal.console import Console

if TYPE_CHECKING:
    from fmnist.data.preparation import Preparation
    from fmnist.data.sources import Source
    from search.study.study import Study

StudyName = Annotated[
    str | None,
    typer.Argument(
        metavar="STUDY",
        help="A study's name in the storage; default the study that ran last.",
        autocompletion=study_names,
    ),
]
Storage = Annotated[
    str,
    typer.Option(
        metavar="URL",
        show_default="$FMNIST_STORAGE, else sqlite:///studies/fmnist.db",  # the value may have a password
        help="Where studies are kept: sqlite:///FILE, or on a server postgresql+psycopg://... or mysql+pymysql://...",
    ),
]
DATA_FORMS = "CSV, Parquet, npz, a folder of pictures, of tables or of idx files, or 'synthetic'."
Data = Annotated[str | None, typer.Option("--data", metavar="PATH", help=DATA_FORMS)]
Test = Annotated[str | None, typer.Option("--test", metavar="PATH", help="The test split, if the data have none.")]
SkipUnreadable = Annotated[
    bool, typer.Option("--skip-unreadable", help="Skip pictures that cannot be opened, and count them.")
]
Device = Annotated[
    str | None, typer.Option(metavar="D", help="cpu, cuda, cuda:N or mps; default the fastest available.")
]
Model = Annotated[Path, typer.Argument(metavar="MODEL", help="An exported folder, or a checkpoint.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print only JSON, with unrounded figures without units.")]
AsCsv = Annotated[bool, typer.Option("--csv", help="Print only CSV, with unrounded figures without units.")]
AnyModel = Annotated[
    Path,
    typer.Argument(metavar="MODEL", help="A finished study, an exported folder, a checkpoint, or a .onnx file."),
]
Formats = Annotated[
    list[str] | None,
    typer.Option("--format", metavar="NAME", help="safetensors, pt2, onnx or onnx-int8; may be repeated; default all."),
]
Port = Annotated[
    int, typer.Option(metavar="PORT", min=1, max=65535, help="If it is in use, another free port is taken.")
]
InBrowser = Annotated[bool, typer.Option("--open", help="Open the page in the browser.")]


def quiet_optuna() -> None:
    """Keep Optuna from logging each trial: the commands show progress themselves."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)


def opened_study(study: str | None, storage: str) -> "Study":
    """Return the study of that name in the storage, or without a name the one that ran last."""
    quiet_optuna()
    from search.storage.foreign import SPEC
    from search.storage.opening import open_storage
    from search.study.study import load_study

    opened = load_study(open_storage(storage, create=False), study)
    directions = [direction.name.lower() for direction in opened.optuna.directions]
    if directions != ["maximize"] and SPEC not in opened.attributes:
        raise SearchError(
            f"A study must have one objective, which is maximized, got {', '.join(directions)} in {opened.name!r}, "
            "which another program made. Name another study; `fmnist-search status` lists them."
        )
    return opened


def path_of_model(model: Path) -> Path:
    """Return the model's path; a name that is no path is that of a study, whose export is meant."""
    export = HOME / model / "export"
    return export if not model.exists() and len(model.parts) == 1 and export.is_dir() else model


def source_of(
    data: str | None,
    test: str | None,
    study: "Study | None",
    console: Console,
    preparation: "Preparation | None" = None,
) -> "Source":
    """Return the named data, or those of the study, cleaned by the study's rules and prepared as a model expects."""
    from fmnist.data.sources import find_source
    from fmnist.size import DEFAULT_SIZE
    from search.study.records import DataRecord

    record = study.read(DataRecord) if study else None
    if record and data is None and test is None:
        data, test = "synthetic" if record.is_synthetic else record.path, record.test_path
    spec = study.spec if study else None
    return find_source(
        data,
        test=test,
        rules=spec.cleaning if spec else None,
        size=spec.data.size if spec else DEFAULT_SIZE,
        preparation=preparation,
        announce=lambda text: console.print(text, highlight=False),
    )


def say_address(console: Console, address: str, *, is_moved: bool, in_browser: bool) -> None:
    """Print the address of a served page and, if requested, open it in the browser."""
    if is_moved:
        console.print("The port is in use; another one was chosen.", highlight=False)
    console.print(f"{address}  (Ctrl-C ends it)", highlight=False, soft_wrap=True)
    if in_browser and not webbrowser.open(address):
        console.print("No browser could be opened. Open that address in a browser.", highlight=False)


def show_page(path: Path, console: Console) -> None:
    """Open a page that was written in the browser, or say that none could be opened."""
    if not webbrowser.open(path.absolute().as_uri()):
        console.print(f"No browser could be opened. Open {path} in a browser.", highlight=False)
