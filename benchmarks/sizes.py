"""Write studies/sizes.json: what networks of several sizes reach after how many epochs.

    python benchmarks/sizes.py [--levers FILE.toml] [--file FILE.csv] [--out FILE.json]

The trainings are those of `benchmarks/levers.py --levers benchmarks/sizes.toml --file benchmarks/sizes.csv` with
several numbers of epochs. F1 is that of the validation split, averaged over mirror images and moves by a pixel; of
several seeds it is the mean.
"""

import sys
from pathlib import Path

if __name__ == "__main__":
    # A script's folder comes first on the path, where `profile` would shadow the standard library's.
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from collections import defaultdict
from statistics import fmean
from typing import Annotated

import typer

from benchmarks.levers import read_levers, read_rows
from benchmarks.table import perform, tell
from search.study.sizes import FILE, KnownSize, KnownSizes

TABLE, ROWS = (Path(__file__).with_name(f"sizes.{ending}") for ending in ("toml", "csv"))
OUT = Path(__file__).resolve().parents[1] / "studies" / FILE


def sizes(
    table: Annotated[Path, typer.Option("--levers", metavar="FILE.toml")] = TABLE,
    rows: Annotated[Path, typer.Option("--file", metavar="FILE.csv")] = ROWS,
    out: Annotated[Path, typer.Option(metavar="FILE.json")] = OUT,
) -> None:
    """Write the file."""
    scores: dict[str, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in read_rows(rows):
        scores[row.recipe][row.epochs].append(row.translated)
    found = []
    for lever in read_levers(table)[1]:
        by_epochs = {epochs: round(fmean(f1), 4) for epochs, f1 in sorted(scores[lever.recipe].items())}
        if len(by_epochs) > 1:
            epochs, f1 = tuple(by_epochs), tuple(by_epochs.values())
            found.append(KnownSize(name=lever.name, knobs=dict(lever.knobs), epochs=epochs, f1=f1))
            tell(f"{lever.name}: {', '.join(f'{count} epochs {score}' for count, score in by_epochs.items())}")
    # A size is one line.
    text = KnownSizes(sizes=tuple(found)).model_dump_json().replace('{"name"', '\n{"name"')
    out.write_text(f"{text}\n", encoding="utf-8")


if __name__ == "__main__":
    perform(sizes, __doc__ or "")
