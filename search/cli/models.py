"""The commands on a trained model: `fmnist-search predict` and `evaluate`."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from fmnist.errors import FmnistError
from fmnist.refusals import shown
from search.cli.arguments import AnyModel, Data, Device, Model, Storage, Test, opened_study, path_of_model, source_of
from search.cli.completion import study_names
from search.errors import SearchError
from search.study.paths import DEFAULT_STORAGE
from search.terminal.console import Console


def predict(
    model: AnyModel,
    files: Annotated[
        list[str],
        typer.Argument(metavar="FILES...", help="Pictures of any format, colour and size, folders or patterns."),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    device: Device = None,
) -> None:
    """Name the class of each picture: the three most probable classes with their probabilities.

    A picture that cannot be read is reported, and the others are answered; the exit code is then 2.

    Example: fmnist-search predict model shoe.jpg shirt.png
    """
    import json

    import numpy as np

    from fmnist.classifier import load_classifier, top
    from search.terminal.wording import visible

    classifier = load_classifier(_exported(model, device), device)
    if classifier.data == "synthetic":
        typer.echo("Note: this model was trained on synthetic images; it cannot classify real garments.", err=True)
    pictures, bad = {}, 0
    for file in _pictures(files):
        try:
            pictures[file] = classifier.read(file)
        except FmnistError as error:
            typer.echo(visible(f"Error: {error}"), err=True)
            bad += 1
    rows = list(classifier.probabilities(np.stack(list(pictures.values())))) if pictures else []
    predictions = [(file, top(row, classifier.class_names)) for file, row in zip(pictures, rows, strict=True)]
    if as_json:
        entries = [
            {"file": str(file), "predictions": [{"label": name, "probability": p} for name, p in classes]}
            for file, classes in predictions
        ]
        typer.echo(json.dumps(entries, indent=2))
    else:
        for file, classes in predictions:
            typer.echo(visible(f"{file}: ") + ", ".join(f"{name} {probability:.1%}" for name, probability in classes))
    if bad:
        raise typer.Exit(2)


def _exported(model: Path, device: str | None) -> Path:
    """Return the model's path: of an exported folder the ONNX file, unless a device is named.

    Without PyTorch it answers in a quarter of the time.
    """
    from fmnist.classifier import ONNX_FILES

    path = path_of_model(model)
    onnx = path / ONNX_FILES[0]
    return onnx if device is None and onnx.is_file() else path


def _pictures(given: list[str]) -> Iterator[Path]:
    """Yield the pictures: files as they are, the pictures in folders, and what matches a pattern.

    What the system refuses to look up is taken for a file, which then cannot be read.
    """
    for text in given:
        try:
            found = _matching(Path(text))
        except (OSError, ValueError):
            found = [Path(text)]
        if not found:
            raise SearchError(f"There is no picture in {shown(text)}.")
        yield from found


def _matching(path: Path) -> list[Path]:
    from fmnist.data.folders import EXTENSIONS

    if path.is_dir():
        return sorted(file for file in path.rglob("*") if file.suffix.lower() in EXTENSIONS and _is_read(file, path))
    if not path.exists() and any(sign in str(path) for sign in "*?["):
        return sorted(Path(path.anchor).glob(str(path.relative_to(path.anchor))))
    return [path]


def _is_read(file: Path, folder: Path) -> bool:
    """Whether it is a file, and no system or tool has left it behind, or a folder on its way from `folder`."""
    from fmnist.data.leftovers import is_leftover

    *folders, name = file.relative_to(folder).parts
    is_left = is_leftover(name) or any(is_leftover(each, is_folder=True) for each in folders)
    return not is_left and file.is_file()


def evaluate(
    model: Model,
    data: Data = None,
    test: Test = None,
    device: Device = None,
    study: Annotated[
        str | None,
        typer.Option(
            metavar="STUDY", help="The study that made the model, if it does not name it.", autocompletion=study_names
        ),
    ] = None,
    storage: Storage = DEFAULT_STORAGE,
) -> None:
    """Score a model on the test split of a data set; its study records it. To choose between models, use validation.

    Example: fmnist-search evaluate model --data synthetic
    """
    from fmnist.checkpoint import load_checkpoint
    from fmnist.device import choose_device
    from search.job.evaluation import evaluate_model, study_of

    console, checkpoint = Console(), load_checkpoint(model)
    named_study = opened_study(study, storage) if study else None
    made_by = study_of(model, checkpoint, storage)
    source = source_of(data, test, named_study or made_by.study, console, checkpoint.preparation)
    scores, (low, high), notes = evaluate_model(
        model,
        checkpoint,
        source,
        made_by,
        named_study,
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
