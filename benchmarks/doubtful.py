"""What limits the score: test images for which all networks of several studies predict the same wrong class.

    python benchmarks/doubtful.py STUDY... [--sheet FILE.png] [--json FILE]        seconds

Give the names of finished studies, in the folder where they ran. The predictions of their final networks on the test
split are read from the studies; nothing is scored again. If every network predicts the same class and it is not the
label, the label is doubtful or the image is hard to classify for anyone.

wrong    share of the test images that the mean probabilities of all networks misclassify
agreed   share for which all networks predict the same wrong class
F1       of each class: mean over the networks, and of all together

People classified 83.5 % of the images correctly (Zalando's README of Fashion-MNIST), without published figures for each
class. `ratio` in the JSON is the share of agreed mistakes in the common ones.
"""

import sys
from pathlib import Path

if __name__ == "__main__":
    # A script's folder comes first on the path, where `profile` would shadow the standard library's.
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from itertools import combinations
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console

from benchmarks.options import Json
from benchmarks.table import perform, publish, surroundings
from fmnist.data.sources import find_source
from fmnist.data.splits import test_pixels
from fmnist.errors import FmnistError
from fmnist.machine import cores
from fmnist.metrics import Ints, score
from search.dashboard.pictures import mistakes
from search.report.render import print_table
from search.storage.opening import open_storage
from search.study.paths import DEFAULT_STORAGE
from search.study.predictions import Predictions, read_predictions
from search.study.records import DataRecord, Final
from search.study.study import load_study
from search.terminal.table import Table

PAIRS = 8


def doubtful(
    studies: Annotated[list[str], typer.Argument(metavar="STUDY...", help="Finished studies on the same test images.")],
    storage: Annotated[str, typer.Option(metavar="URL")] = DEFAULT_STORAGE,
    sheet: Annotated[
        Path | None, typer.Option(metavar="FILE.png", help="Draw the most confident agreed mistakes.")
    ] = None,
    data: Annotated[str | None, typer.Option(metavar="PATH", help="The data of the studies, for the pictures.")] = None,
    file: Json = None,
) -> None:
    """Print the tables."""
    here = surroundings(workers=1, threads=cores())
    names, labels, probabilities = _all_networks(studies, storage)
    ensemble, predictions = probabilities.mean(axis=0), probabilities.argmax(axis=2)
    agreed = (predictions == predictions[0]).all(axis=0) & (predictions[0] != labels)
    scores = score(labels, ensemble.argmax(axis=1), len(names))
    confused = scores.confusion + scores.confusion.T
    pairs = sorted(combinations(range(len(names)), 2), key=lambda pair: -confused[pair])[:PAIRS]
    mean_f1 = np.mean([score(labels, row, len(names)).f1 for row in predictions], axis=0)
    rows = [
        {
            "class": name,
            "each": float(mean),
            "together": float(together),
            "agreed": int((agreed & (labels == label)).sum()),
        }
        for label, (name, mean, together) in enumerate(zip(names, mean_f1, scores.f1, strict=True))
    ]
    wrong = 1 - scores.accuracy
    figures = {
        "benchmark": "doubtful",
        **here,
        "settings": {"studies": studies, "networks": len(predictions), "wrong": wrong, "agreed": float(agreed.mean())},
        "rows": rows,
        "pairs": [{"pair": [names[label] for label in pair], "mistakes": int(confused[pair])} for pair in pairs],
        "ratio": float(agreed.mean()) / max(wrong, 1e-9),
    }
    if sheet is not None:
        pixels = np.asarray(test_pixels(find_source(data, announce=lambda _: None)))[agreed]
        picture = mistakes(Predictions(labels[agreed], ensemble[None, agreed], 0), pixels, names, "test")
        if picture is None:
            raise FmnistError("The networks agree on no mistake, so there is nothing to draw. Leave --sheet out.")
        sheet.write_bytes(picture)
    print_table(_pairs_table(figures), Console())
    publish(_classes_table(figures), figures, file)


def _all_networks(studies: list[str], url: str) -> tuple[tuple[str, ...], Ints, NDArray[np.floating]]:
    """Return class names, labels [N], and probabilities [networks, N, classes]."""
    storage, all_predictions, records = open_storage(url, create=False), [], list[DataRecord]()
    for name in studies:
        study = load_study(storage, name)
        final, record = study.read(Final), study.read(DataRecord)
        predictions = read_predictions(study.folder, final) if final else None
        if predictions is None or record is None:
            raise FmnistError(
                f"The study {name!r} must be finished and have its final/predictions.npz. Run the command in the "
                "folder of the study."
            )
        if records and record.test_fingerprint != records[0].test_fingerprint:
            raise FmnistError(
                f"The studies must have the same test images; those of {name!r} differ from {studies[0]!r}. "
                "Leave one of them out."
            )
        records.append(record)
        all_predictions.append(predictions)
    probabilities = np.concatenate([predictions.probabilities for predictions in all_predictions])
    return records[0].class_names, all_predictions[0].labels, probabilities


def _pairs_table(figures: dict[str, Any]) -> Table:
    settings = figures["settings"]
    rows = [(*pair["pair"], f"{pair['mistakes']:,}") for pair in figures["pairs"]]
    caption = (
        f"{settings['networks']} networks of {', '.join(settings['studies'])} together misclassify "
        f"{settings['wrong']:.2%} of the test images; for {settings['agreed']:.2%} all predict the same wrong class."
    )
    return Table(
        "Mistakes of all together, by pairs of classes",
        ("class", "other class", "mistakes"),
        rows,
        caption,
        frozenset({0, 1}),
    )


def _classes_table(figures: dict[str, Any]) -> Table:
    rows = [
        (row["class"], f"{row['each']:.4f}", f"{row['together']:.4f}", f"{row['agreed']:,}") for row in figures["rows"]
    ]
    return Table("Each class", ("class", "F1, mean", "F1, together", "agreed mistakes"), rows, "On the test split.")


if __name__ == "__main__":
    perform(doubtful, __doc__ or "")
