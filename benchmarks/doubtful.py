"""What limits the score: test images about which all networks of several studies are wrong in the same way.

    python benchmarks/doubtful.py STUDY... [--sheet FILE.png] [--json FILE]        seconds

Give the names of finished studies in the folder where they ran. It reads what their final networks said of the test
split when it was opened; nothing is scored anew. An image whose label every network denies, and all for the same class,
has a doubtful label or is hard to tell for anybody.

wrong    share of the test images that the networks name wrongly together, by their mean probabilities
agreed   share about which all are wrong and of one mind
F1       of each class: mean over the networks, and of all together

People were right about 83.5 % of the images (Zalando's README of Fashion-MNIST); figures of theirs for each class were
not published. `ratio` in the JSON is the share of the common mistakes that are agreed.
"""

import sys
from pathlib import Path

if __name__ == "__main__":
    # A script's own folder comes first on the path, where `profile` would stand before the standard library's.
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from itertools import combinations
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console

from benchmarks.table import perform, publish, surroundings
from fmnist.data.sources import find_source
from fmnist.data.splits import test_pixels
from fmnist.errors import FmnistError
from fmnist.machine import cores
from fmnist.metrics import Ints, score
from search.dashboard.pictures import mistakes
from search.report.render import print_table
from search.storage.opening import DEFAULT_STORAGE, open_storage
from search.study.predictions import Predictions, read_predictions
from search.study.records import DataRecord, Final
from search.study.study import load_study
from search.terminal.table import Table

PAIRS = 8


def doubtful(
    studies: Annotated[list[str], typer.Argument(metavar="STUDY...", help="Finished studies on the same test images.")],
    storage: Annotated[str, typer.Option(metavar="URL")] = DEFAULT_STORAGE,
    sheet: Annotated[
        Path | None, typer.Option(metavar="FILE.png", help="The surest of the agreed mistakes, as pictures.")
    ] = None,
    data: Annotated[
        str | None, typer.Option(metavar="PATH", help="For the pictures, as the studies were given it.")
    ] = None,
    file: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write everything there too.")] = None,
) -> None:
    """The tables are on the screen."""
    here = surroundings(workers=1, threads=cores())
    names, labels, probabilities = _all_networks(studies, storage)
    together = probabilities.mean(axis=0)
    said, all_said = together.argmax(axis=1), probabilities.argmax(axis=2)
    agreed = (all_said == all_said[0]).all(axis=0) & (all_said[0] != labels)
    both_ways = (scores := score(labels, said, len(names))).confusion + scores.confusion.T
    pairs = sorted(combinations(range(len(names)), 2), key=lambda pair: -both_ways[pair])[:PAIRS]
    each = np.mean([score(labels, one, len(names)).f1 for one in all_said], axis=0)
    rows = [
        {
            "class": name,
            "each": float(alone),
            "together": float(ensemble),
            "agreed": int((agreed & (labels == label)).sum()),
        }
        for label, (name, alone, ensemble) in enumerate(zip(names, each, scores.f1, strict=True))
    ]
    wrong = 1 - scores.accuracy
    figures = {
        "benchmark": "doubtful",
        **here,
        "settings": {"studies": studies, "networks": len(all_said), "wrong": wrong, "agreed": float(agreed.mean())},
        "rows": rows,
        "pairs": [{"pair": [names[one] for one in pair], "mistakes": int(both_ways[pair])} for pair in pairs],
        "ratio": float(agreed.mean()) / max(wrong, 1e-9),
    }
    if sheet is not None:
        pixels = np.asarray(test_pixels(find_source(data, announce=lambda _: None)))[agreed]
        picture = mistakes(Predictions(labels[agreed], together[None, agreed], 0), pixels, names, "test")
        if picture is None:
            raise FmnistError("The networks agree on no mistake: there is nothing to draw. Leave --sheet out.")
        sheet.write_bytes(picture)
    print_table(_pairs_table(figures), Console())
    publish(_classes_table(figures), figures, file)


def _all_networks(studies: list[str], url: str) -> tuple[tuple[str, ...], Ints, NDArray[np.floating]]:
    """Names of the classes, labels [N], and probabilities [networks, N, classes]."""
    storage, found, records = open_storage(url, create=False), [], list[DataRecord]()
    for name in studies:
        study = load_study(storage, name)
        final, record = study.read(Final), study.read(DataRecord)
        predictions = read_predictions(study.folder, final) if final else None
        if predictions is None or record is None:
            raise FmnistError(
                f"The study {name!r} must be finished, and its final/predictions.npz there. Give the command where it "
                "ran."
            )
        if records and record.test_fingerprint != records[0].test_fingerprint:
            raise FmnistError(
                f"The studies must have the same test images; those of {name!r} are others than those before."
            )
        records.append(record)
        found.append(predictions)
    return records[0].class_names, found[0].labels, np.concatenate([each.probabilities for each in found])


def _pairs_table(figures: dict[str, Any]) -> Table:
    settings = figures["settings"]
    rows = [(*pair["pair"], f"{pair['mistakes']:,}") for pair in figures["pairs"]]
    caption = (
        f"{settings['networks']} networks of {', '.join(settings['studies'])} together are wrong about "
        f"{settings['wrong']:.2%} of the test "
        f"images; about {settings['agreed']:.2%} all are wrong and say the same."
    )
    return Table(
        "Mistakes of all together, by pairs of classes", ("one", "other", "mistakes"), rows, caption, frozenset({0, 1})
    )


def _classes_table(figures: dict[str, Any]) -> Table:
    rows = [
        (row["class"], f"{row['each']:.4f}", f"{row['together']:.4f}", f"{row['agreed']:,}") for row in figures["rows"]
    ]
    return Table("Each class", ("class", "F1, mean", "F1, together", "agreed mistakes"), rows, "On the test split.")


if __name__ == "__main__":
    perform(doubtful, __doc__ or "")
