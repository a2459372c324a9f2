"""Write studies/known.json: what recorded trainings and studies found on Fashion-MNIST, as a prior of other searches.

    python benchmarks/known.py [--curves FILE.csv]... [--study NAME]... [--storage URL] [--most N] [--out FILE]

Only validation scores are read. The space of a table of curves lies beside it (FILE.toml). Trainings of one
configuration with several seeds count as one, with their mean.
"""

import sys
from pathlib import Path

if __name__ == "__main__":
    # A script's folder comes first on the path, where `profile` would shadow the standard library's.
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import json
from collections import defaultdict
from collections.abc import Sequence
from typing import Annotated, Any

import numpy as np
import typer

from benchmarks.curves import CURVES, Curve, read_curves, read_space
from benchmarks.table import perform, tell
from fmnist.errors import FmnistError
from search.job.prior import usable_curves
from search.storage.opening import open_storage
from search.study.known import FILE, Known
from search.study.paths import DEFAULT_STORAGE
from search.study.records import DataRecord
from search.study.study import Study, load_study

OUT = Path(__file__).resolve().parents[1] / "studies" / FILE


def known(
    curves: Annotated[list[Path], typer.Option(metavar="FILE.csv")] = [CURVES],  # noqa: B006
    study: Annotated[list[str], typer.Option(metavar="NAME", help="A study of Fashion-MNIST.")] = [],  # noqa: B006
    storage: Annotated[str, typer.Option(metavar="URL", help="The storage of the studies.")] = DEFAULT_STORAGE,
    most: Annotated[int, typer.Option(metavar="N", min=1, help="Trainings of each at most.")] = 300,
    out: Annotated[Path, typer.Option(metavar="FILE.json")] = OUT,
) -> None:
    """Write the file."""
    searches = [_recorded(file, most) for file in curves]
    if study:
        opened = open_storage(storage, create=False)
        searches += [_studied(load_study(opened, name), most) for name in study]
    content = Known.model_validate({"searches": searches}, strict=False)
    # A training is one line.
    out.write_text(content.model_dump_json().replace('{"knobs":{"', '\n{"knobs":{"') + "\n", encoding="utf-8")
    for search in content.searches:
        tell(f"{search.name}: {len(search.trainings)} trainings of {search.epochs} epochs.")


def _recorded(file: Path, most: int) -> dict[str, Any]:
    spec = read_space(file.with_suffix(".toml"))
    by_point: dict[int, list[Curve]] = defaultdict(list)
    for curve in read_curves(file):
        if len(curve.curve) == spec.epochs:
            by_point[curve.point].append(curve)
    trainings = [
        (group[0].knobs, np.mean([curve.curve for curve in group], axis=0)) for _, group in sorted(by_point.items())
    ]
    return _search(file.stem, spec.epochs, spec.knobs, trainings[:most])


def _studied(study: Study, most: int) -> dict[str, Any]:
    if (data := study.read(DataRecord)) is None or not data.is_fashion_mnist:
        raise FmnistError(f"--study must name studies of Fashion-MNIST, got {study.name!r}.")
    trainings = [(trial.params, np.array(curve)) for trial, curve in usable_curves(study)]
    trainings = [(knobs, curve) for knobs, curve in trainings if np.isfinite(curve).all()]  # JSON has no NaN
    return _search(study.name, study.spec.epochs, study.spec.knobs, trainings[:most])


def _search(name: str, epochs: int, knobs: dict[str, Any], trainings: Sequence[Any]) -> dict[str, Any]:
    listed = [
        {"knobs": json.loads(json.dumps(values), parse_float=_short), "f1": [round(float(f1), 4) for f1 in curve]}
        for values, curve in trainings
    ]
    return {"name": name, "epochs": epochs, "knobs": knobs, "trainings": listed}


def _short(number: str) -> float:
    return float(f"{float(number):.4g}")


if __name__ == "__main__":
    perform(known, __doc__ or "")
