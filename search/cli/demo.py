"""`fmnist-search demo`: try a model by hand."""

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from search.cli.arguments import Data, Device, InBrowser, Port, Storage, opened_study, path_of_model, say_address
from search.study.paths import DEFAULT_STORAGE
from search.terminal.console import Console

if TYPE_CHECKING:
    from fmnist.classifier import Classifier
    from fmnist.data.images import Images

AnyModel = Annotated[
    Path | None,
    typer.Argument(metavar="MODEL", help="As for predict; default the export of the study that ran last."),
]


def demo(
    model: AnyModel = None,
    data: Data = None,
    device: Device = None,
    storage: Storage = DEFAULT_STORAGE,
    port: Port = 7860,
    in_browser: InBrowser = False,
) -> None:
    """Try a model on a local page: drop or draw a picture, see the prediction and the nearest training images.

    Needs the extra: pip install 'fmnist-search[demo]'.

    Example: fmnist-search demo studies/auto/export --open
    """
    from search.demo.page import listen, serve  # first: it raises if gradio is missing

    console = Console()
    folder = path_of_model(model) if model else _exported(storage)
    from fmnist.classifier import load_classifier
    from search.demo.about import about
    from search.demo.answers import Answers
    from search.demo.neighbour_loader import NeighbourLoader

    classifier = load_classifier(folder, device)
    loader = NeighbourLoader(lambda: _training_images(classifier, data, console), classifier.features)
    answers = Answers(classifier, loader)
    with suppress(KeyboardInterrupt), listen(port) as listening:
        actual = listening.getsockname()[1]
        say_address(console, f"http://127.0.0.1:{actual}/", is_moved=actual != port, in_browser=in_browser)
        serve(about(folder, classifier), answers, listening)
    console.print("Ended.")


def _exported(storage: str) -> Path:
    from search.errors import SearchError
    from search.export.agreement import require_export
    from search.study.ownership import require_own_folder

    study = opened_study(None, storage)
    folder = study.folder / "export"
    if not folder.is_dir():
        raise SearchError(
            f"The study {study.name!r} has no exported model yet. Run the command that started it again to finish it, "
            "or name a MODEL."
        )
    require_own_folder(study)
    require_export(study, folder)
    return folder


def _training_images(classifier: "Classifier", data: str | None, console: Console) -> "Images | str":
    from fmnist.data.official import FASHION_MNIST
    from fmnist.data.sources import find_source
    from fmnist.data.synthetic import SYNTHETIC
    from fmnist.errors import FmnistError

    if data is None and classifier.data not in (FASHION_MNIST, SYNTHETIC):
        return "The training images of the model are unknown. Name them with --data to see the nearest ones."
    name = SYNTHETIC if data is None and classifier.data == SYNTHETIC else data
    try:
        images = find_source(
            name,
            may_download=False,
            preparation=classifier.preparation,
            announce=lambda text: console.print(text, highlight=False),
        ).train()
    except FmnistError as error:
        return f"There are no training images to compare with: {error}"
    if images.class_names != classifier.class_names:
        return "The images of --data have other classes than the model, so no training images are shown."
    return images
